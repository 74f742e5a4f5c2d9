"""How long it takes to read results: whole processes on a database of this size, written by the project's own tracker.

`framework compare` on 1,000 runs against the script that one would write by hand (mlflow.search_runs and pandas), and
`framework report` of 60 trials of 30 epochs.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from pathlib import Path
from statistics import median

from common import load, parser, print_table, show, table, take_turns, verdict

from framework._plan import TrialPlan
from framework._stage import Record
from framework._tracking import Tracker

COMPARE_SECONDS, REPORT_SECONDS = 5.0, 20.0
SEEDS = 10
PARAMS = 60
LAYERS = 20
FRAMEWORK = [sys.executable, "-m", "framework"]
BY_HAND = """
import os, sys
os.environ["MLFLOW_TRACKING_URI"] = sys.argv[1]
import mlflow
found = dict(filter_string="tags.`framework.key` LIKE '%'", max_results=5000)
runs = mlflow.search_runs(experiment_names=[sys.argv[2]], **found)
grouped = runs.groupby("params.prune.amount")["metrics.test/accuracy"]
print(grouped.agg(["count", "mean", "std"]).to_string())
"""


def plan(experiment: str, amount: float, seed: int, epochs: int) -> TrialPlan:
    """A trial of as many parameters as a real one's."""
    more = {f"option_{index}": index for index in range(PARAMS - 12)}
    return TrialPlan(
        experiment=experiment,
        swept={"prune.amount": amount},
        seed=seed,
        model={"name": "resnet18", "stem": "imagenet", "head": [100]},
        data={"dataset": {"name": "cifar10", "root": "data"}, "validation": 0.1, "augment": ["crop", "flip"]},
        stages=({"name": "prune", "amount": amount}, {"name": "train", "epochs": epochs, **more}),
        resources={"cpu": 1, "gpu": "auto"},
        keys=("initial", f"{amount}", f"{amount} {seed}"),
        stage_epochs=(0, epochs),
    )


def records(amount: float, seed: int, epochs: int) -> list[Record]:
    """What it reports: some thirty metrics an epoch."""
    draw = random.Random(f"{amount} {seed}")
    found = []
    for epoch in range(1, epochs + 1):
        metrics = {f"sparsity/layer{index}": amount for index in range(LAYERS)}
        metrics |= {f"{split}/loss": 1 / epoch + draw.random() / 10 for split in ("train", "val")}
        metrics |= {f"{split}/accuracy": 0.9 - amount / 10 + draw.random() / 50 for split in ("train", "val")}
        metrics |= {"sparsity": amount, "frozen": 0.0, "lr": 0.1 / epoch, "images_per_second": 1000.0}
        found.append(Record(epoch, 1, metrics, time.time()))
    found[-1].metrics.update({"test/accuracy": 0.9 - amount / 10 + draw.random() / 50, "test/loss": 0.3})
    return found


def write(root: Path, experiment: str, trials: int, epochs: int) -> None:
    """Leave so many finished trials in a root."""
    with Tracker(uri(root), root) as tracker:
        tracker.start(experiment, "Made up, to measure how fast it is read.", trials, "framework run made-up.yaml")
        for index in range(trials):
            amount, seed = index // SEEDS / 1000, index % SEEDS
            trial = plan(experiment, amount, seed, epochs)
            tracker.trial_started(trial, "name: made-up\n")
            tracker.recorded(trial, records(amount, seed, epochs))
            tracker.trial_ended(trial, None)


def uri(root: Path) -> str:
    return f"sqlite:///{root / 'mlflow.db'}"


def seconds(*command: str) -> float:
    """How long a process takes; it must end well."""
    began = time.perf_counter()
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} …: {done.stderr}")
    return time.perf_counter() - began


def options() -> ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--runs", type=int, default=1000, help="how many are compared")
    made.add_argument("--trials", type=int, default=60, help="how many are reported on")
    made.add_argument("--epochs", type=int, default=30, help="of each of these")
    made.add_argument("--root", type=Path, help="where the runs are kept, and found again; else they are thrown away")
    return made


def main() -> None:
    given = options().parse_args()
    load_before = load()
    with tempfile.TemporaryDirectory() as scratch:
        root = given.root or Path(scratch)
        if not (root / "mlflow.db").exists():
            write(root, "many", given.runs, epochs=3)
            write(root, "few", given.trials, given.epochs)
        place = ["--root", str(root), "--tracking-uri", uri(root)]
        page = str(Path(scratch, "report.html"))
        repeats = given.repeats or 5
        comparing = {
            "compare": lambda: seconds(*FRAMEWORK, "compare", "many", "--baseline", "prune.amount=0.0", *place),
            "by hand": lambda: seconds(sys.executable, "-c", BY_HAND, uri(root), "many"),
        }
        times = take_turns(comparing, repeats)
        times |= take_turns({"report": lambda: seconds(*FRAMEWORK, "report", "few", "-o", page, *place)}, repeats)
    result = table("Reading results: seconds of a whole process", "what", "seconds", "target", words=1)
    result.add_row(
        f"framework compare, {given.runs:,} runs",
        show(times["compare"], ".1f"),
        verdict(median(times["compare"]), COMPARE_SECONDS, least=False),
    )
    result.add_row("mlflow.search_runs and pandas", show(times["by hand"], ".1f"), "")
    result.add_row(
        f"framework report, {given.trials} trials × {given.epochs} epochs",
        show(times["report"], ".1f"),
        verdict(median(times["report"]), REPORT_SECONDS, least=False),
    )
    print_table(result, load_before)


if __name__ == "__main__":
    main()
