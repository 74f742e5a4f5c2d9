"""What the tracking of a trial costs the driver, where so many runs are there already.

Trials of trivial work, one after another through `Tracker` alone, without Ray and without training: each has two
records, four figures, numbers of its network, a note, and (the second time) a small network to keep. The runs that are
there before are copies of one such run, made in SQL. What counts is the CPU time of the process from the first start
until all is written; the first trials, which import and export, do not count.

    python benchmarks/tracking.py [--runs 100,500,2500] [--trials 40] [--profile]
"""

import cProfile
import pstats
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from common import load, parser, print_table, show, table

from framework._plan import TrialPlan
from framework._stage import Record
from framework._tracking import RunArtifacts, Tracker, default_uri

EXPERIMENT, SHAPE, WARM = "many", (1, 8, 8), 3
FIGURES = {f"figures/{name}": 50_000 * b"x" for name in ("loss.png", "loss.svg", "sparsity.png", "sparsity.svg")}
LAYERS = [f"convolutions.{i}" for i in range(6)]
NUMBERS = {f"{what}/{layer}": 7.0 for what in ("model/flops", "no_gradient") for layer in LAYERS}


def make_plan(index: int) -> TrialPlan:
    optimizer = {"name": "sgd", "momentum": 0.9, "lr": 0.001 * (index + 1), "weight_decay": 0.0, "nesterov": False}
    train = {"name": "train", "steps": 5, "batch_size": 64, "loss": "cross_entropy", "optimizer": optimizer}
    return TrialPlan(
        experiment=EXPERIMENT,
        swept={"train.optimizer.lr": optimizer["lr"]},
        seed=0,
        model={"name": "convnet", "widths": [8, 8]},
        data={"dataset": {"name": "digits"}, "validation": 0.1, "augment": []},
        stages=(train,),
        resources={"cpu": 1, "gpu": "auto"},
        keys=("initial", f"key{index:060d}"),
        stage_epochs=(1,),
        plugins=("framework 1",),
    )


def records() -> list[Record]:
    layers = {f"sparsity/{layer}": 0.5 for layer in LAYERS}
    values = {f"{split}/{what}": 0.5 for split in ("train", "val", "test") for what in ("loss", "accuracy")}
    return [Record(1, 0, {**values, **layers, "sparsity": 0.5, "lr": 0.1}, time.time()) for _ in range(2)]


def track(tracker: Tracker, index: int, model: Any) -> None:
    """One trial, as the recorder hands it over."""
    plan = make_plan(index)
    artifacts = RunArtifacts(FIGURES, NUMBERS, lambda exported: 40 * "A line of a note.\n", model, SHAPE)
    tracker.trial_started(plan, 30 * "name: many\n", notes={"normalise": {"mean": [0.5], "std": [0.1]}})
    for record in records():
        tracker.recorded(plan, [record])
    tracker.trial_ended(plan, None, artifacts=lambda run_id: artifacts)
    tracker.wait()


def copy_runs(file: Path, count: int) -> None:
    """As many finished runs as that, each as the first one but for its id and its key."""
    with closing(sqlite3.connect(file)) as database, database:
        [(first,)] = database.execute("SELECT run_uuid FROM tags WHERE key = 'framework.key' LIMIT 1")
        for table_ in ("runs", "tags", "params", "metrics", "latest_metrics"):
            columns = [f'"{row[1]}"' for row in database.execute(f"PRAGMA table_info({table_})")]
            values = ", ".join(":new" if column == '"run_uuid"' else column for column in columns)
            if table_ == "tags":
                values = values.replace('"value"', "CASE key WHEN 'framework.key' THEN :new ELSE value END")
            database.executemany(
                f"INSERT INTO {table_} ({', '.join(columns)}) SELECT {values} FROM {table_} WHERE run_uuid = :first",
                [{"new": f"{index:032x}", "first": first} for index in range(count)],
            )


def measure(runs: int, trials: int, model: Any, profile: cProfile.Profile | None) -> float:
    """CPU milliseconds for each trial."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "mlruns")
        with Tracker(default_uri(root), root) as tracker:
            tracker.start(EXPERIMENT, "What it is for.", trials, "framework run many.yaml")
            for index in range(WARM):
                track(tracker, index, model)
            copy_runs(root / "mlflow.db", runs - WARM)
            if profile:
                tracker._delivery.call(lambda runs: profile.enable())
            began = time.process_time()
            for index in range(WARM, WARM + trials):
                track(tracker, index, model)
            taken = time.process_time() - began
            if profile:
                tracker._delivery.call(lambda runs: profile.disable())
    return 1e3 * taken / trials


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--runs", default="100,500,2500", help="there before; several, separated by commas")
    arguments.add_argument("--trials", type=int, default=40, help="how many are measured")
    arguments.add_argument("--profile", action="store_true", help="say besides where the time goes")
    options = arguments.parse_args()
    from framework_plugins.models.convnet import convnet

    load_before = load()
    columns = ("runs before", "CPU without its network, ms", "CPU with it, ms")
    costs = table("The tracking of a trial of trivial work", *columns, words=1)
    for runs in map(int, options.runs.split(",")):
        row = []
        for model in (None, convnet(SHAPE, 10, widths=[8, 8])):
            profile = cProfile.Profile() if options.profile else None
            row.append([measure(runs, options.trials, model, profile) for _ in range(options.repeats or 1)])
            if profile:
                pstats.Stats(profile).sort_stats("cumulative").print_stats(110)
        costs.add_row(f"{runs:,}", *(show(values, ".1f") for values in row))
    print_table(costs, load_before, "CPU time")


if __name__ == "__main__":
    main()
