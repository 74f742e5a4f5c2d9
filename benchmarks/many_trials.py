"""What 40 trials of trivial work cost: the framework, against plain Ray Tune with its `MLflowLoggerCallback`.

Every trial trains a tiny convnet for a few steps on scikit-learn's digits, measures it on a validation and on the test
set, reports twice (loss, accuracy and sparsity of every layer), and keeps the trained network. Each side is a fresh
process in a new folder, its database included:
  Ray's start              imports `ray.tune`, starts Ray, stops it: what all the others have to pay
  plain Ray                a function trainable as in Ray's documentation: `tune.with_parameters` for the data,
                           `tune.report` with a checkpoint, `MLflowLoggerCallback(save_artifact=True)` on SQLite;
                           Ray's defaults for all else
  plain Ray, reuse_actors  the same, but that trials take turns in a process, which is off by default
  framework                a spec with a grid of as many learning rates, through `framework._executors.session`

The sides in turn; whole wall time from the start of the process to its end. "Per trial" is what is beyond Ray's start
in the same round, by the number of trials. A second table says when the trials themselves ran.

    python benchmarks/many_trials.py [--trials 40] [--repeats 1] [--keep FOLDER]
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from common import load, parser, peak, print_table, ratios, show, table, take_turns, verdict

STEPS, BATCH_SIZE, WIDTHS = 5, 64, (8, 8)


def learning_rates(trials: int) -> list[float]:
    return [round(0.001 * (i + 1), 3) for i in range(trials)]


def start_only(folder: Path, trials: int) -> dict[str, float]:
    import ray
    from ray import tune  # noqa: F401  what the others import

    ray.init(address="local", include_dashboard=False)
    ray.shutdown()
    return {}


def plain(folder: Path, trials: int, reuse_actors: bool = False) -> dict[str, float]:
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    from framework_plugins.datasets.digits import digits

    stamps: dict[str, float] = {}

    class Stopwatch(tune.Callback):
        def on_trial_start(self, **info: Any) -> None:
            stamps.setdefault("first", time.time())

        def on_trial_complete(self, **info: Any) -> None:
            stamps["last"] = time.time()

    data = digits()
    stamps["ready"] = time.time()
    ray.init(address="local")
    results = tune.Tuner(
        tune.with_parameters(train_by_hand, data=data),
        param_space={"lr": tune.grid_search(learning_rates(trials)), "momentum": 0.9, "seed": 0},
        tune_config=tune.TuneConfig(reuse_actors=reuse_actors),
        run_config=tune.RunConfig(
            name="many",
            storage_path=str(folder / "ray"),
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{folder / 'mlflow.db'}", experiment_name="many", save_artifact=True
                ),
                Stopwatch(),
            ],
        ),
    ).fit()
    stamps["fitted"] = time.time()
    finished = [result for result in results if not result.error]
    ray.shutdown()
    return {**stamps, "finished": len(finished)}


def train_by_hand(config: dict[str, Any], data: Any) -> None:
    """One trial, as one would write it for Ray Tune."""
    import torch
    from ray import tune
    from torch import nn

    from framework_plugins.models.convnet import convnet

    torch.manual_seed(config["seed"])
    images, labels = torch.tensor(data.train_images) / 255, torch.tensor(data.train_labels)
    test = torch.tensor(data.test_images) / 255, torch.tensor(data.test_labels)
    mean, std = images.mean(), images.std()
    images, test = (images - mean) / std, ((test[0] - mean) / std, test[1])
    order = torch.randperm(len(images))
    held_out = len(images) // 10
    validation = images[order[:held_out]], labels[order[:held_out]]
    images, labels = images[order[held_out:]], labels[order[held_out:]]

    model = convnet(data.shape, len(data.classes), widths=WIDTHS)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"], momentum=config["momentum"])

    def measure(name: str, images: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        model.eval()
        with torch.inference_mode():
            outputs = model(images)
            accuracy = (outputs.argmax(1) == labels).float().mean()
            measured = {f"{name}/loss": criterion(outputs, labels).item(), f"{name}/accuracy": accuracy.item()}
        for layer, module in model.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                measured[f"sparsity/{layer}"] = (module.weight == 0).float().mean().item()
        return measured

    model.train()
    total = correct = 0.0
    for i in range(STEPS):
        batch = slice(i * BATCH_SIZE, (i + 1) * BATCH_SIZE)
        optimizer.zero_grad()
        outputs = model(images[batch])
        loss = criterion(outputs, labels[batch])
        loss.backward()
        optimizer.step()
        total += loss.item() / STEPS
        correct += (outputs.argmax(1) == labels[batch]).float().mean().item() / STEPS
    tune.report({"train/loss": total, "train/accuracy": correct, **measure("val", *validation)})
    with tempfile.TemporaryDirectory() as temporary:
        torch.save(model.state_dict(), Path(temporary, "model.pt"))
        tune.report(measure("test", *test), checkpoint=tune.Checkpoint.from_directory(temporary))


def framework(folder: Path, trials: int) -> dict[str, float]:
    from rich.console import Console

    from framework._executors import session
    from framework._executors.events import Ended, Started
    from framework._executors.options import RunOptions
    from framework._registry import installed
    from framework._spec import load_specs
    from framework._terminal.view import PlainView
    from framework._tracking import Tracker

    stamps: dict[str, float] = {}
    in_trials: list[float] = []
    cpu: list[float] = []

    class Stopwatch(PlainView):
        def planned(self, plans: Sequence[Any], done: int, coming: int) -> None:
            stamps["ready"] = time.time()
            super().planned(plans, done, coming)

        def handle(self, plan: Any, event: Any) -> None:
            if isinstance(event, Started):
                stamps.setdefault("first", time.time())
            if isinstance(event, Ended):
                stamps["last"] = time.time()
                in_trials.append(event.result.seconds)
                cpu.append(time.process_time())
            super().handle(plan, event)

    class Timed(Tracker):
        def close(self, **how: Any) -> None:
            stamps["fitted"] = time.time()
            [writer] = [thread for thread in threading.enumerate() if thread.name == "tracking"]
            stamps["tracking_cpu"] = time.clock_gettime(time.pthread_getcpuclockid(writer.ident or 0))
            super().close(**how)
            stamps["tracking_wait"] = time.time() - stamps["fitted"]

    session.Tracker = Timed  # type: ignore[misc]
    train = {
        "steps": STEPS,
        "batch_size": BATCH_SIZE,
        "optimizer": {"name": "sgd", "momentum": 0.9, "lr": {"grid_search": learning_rates(trials)}},
    }
    spec = {
        "name": "many",
        "model": {"name": "convnet", "widths": list(WIDTHS)},
        "data": {"name": "digits", "validation": 0.1},
        "stages": [{"train": train}],
    }
    file = folder / "many.yaml"
    file.write_text(json.dumps(spec, indent=1))  # JSON is YAML
    root = folder / "mlruns"
    options = RunOptions(root=root)
    results, _ = session.run(load_specs([file], [], None, installed()), installed(), options, Stopwatch(Console()))
    return {
        **stamps,
        "in_trial": sum(in_trials) / trials,
        "driver_cpu": (time.process_time() - cpu[0]) / (trials - 1),
        "driver_cpu_trials": (cpu[-1] - cpu[0]) / (trials - 1),
        "driver_peak": peak(),
        "finished": sum(not r.error for r in results),
    }


SIDES: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "Ray's start": start_only,
    "plain Ray": plain,
    "plain Ray, reuse_actors": partial(plain, reuse_actors=True),
    "framework": framework,
}


def in_fresh_process(side: str, trials: int, keep: Path | None, seen: list[dict[str, float]]) -> float:
    """Run a side in a process and a folder of its own; whole wall time in seconds."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if keep:
            folder = keep.absolute() / f"{len(seen)} {side}"
            folder.mkdir(parents=True)
        command = [sys.executable, __file__, "--trials", str(trials), "--side", side, "--folder", str(folder)]
        began = time.time()
        with (folder / "output.txt").open("w") as output:
            code = subprocess.run(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
        ended = time.time()
        if code:
            sys.exit(f"{side} ended with {code}:\n{(folder / 'output.txt').read_text()[-3000:]}")
        stamps = json.loads((folder / "stamps.json").read_text())
    if stamps.get("finished", trials) != trials:
        sys.exit(f"{side}: only {stamps['finished']} of {trials} trials finished")
    seen.append({"began": began, **stamps, "ended": ended})
    return ended - began


def phases(seen: Sequence[Mapping[str, float]], trials: int) -> list[str]:
    """Where the time went, in medians over the rounds."""
    edges = ["began", "ready", "first", "last", "fitted", "ended"]
    spans = [median(s[after] - s[before] for s in seen) for before, after in pairwise(edges)]
    return [f"{seconds:.1f}" for seconds in spans] + [f"{spans[2] / trials:.2f}"]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--trials", type=int, default=40)
    arguments.add_argument("--keep", type=Path, help="leave everything in this new folder")
    arguments.add_argument("--side", choices=list(SIDES), help="(what the processes are started with)")
    arguments.add_argument("--folder", type=Path, help="(likewise)")
    options = arguments.parse_args()
    if options.cpu_time:
        sys.exit("most of this is waiting: wall time only")
    if options.side:
        stamps = SIDES[options.side](options.folder, options.trials)
        (options.folder / "stamps.json").write_text(json.dumps(stamps))
        return

    trials, load_before = options.trials, load()
    seen: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    sides = {side: partial(in_fresh_process, side, trials, options.keep, seen[side]) for side in SIDES}
    measured = take_turns(sides, options.repeats or 1, warmup=0)

    costs = table(
        f"{trials} trials of trivial work",
        *("side", "whole, s", "per trial, beyond Ray's start, s", "÷ plain Ray", "target"),
        words=1,
    )
    each = {
        side: [(whole - start) / trials for whole, start in zip(values, measured["Ray's start"], strict=True)]
        for side, values in measured.items()
    }
    for side, values in measured.items():
        if side == "Ray's start":
            costs.add_row(side, show(values, ".1f"))
            continue
        ours = side == "framework"
        costs.add_row(
            side,
            show(values, ".1f"),
            show(each[side], ".2f"),
            show(ratios(each[side], each["plain Ray"]), ".2f"),
            verdict(median(each[side]), 0.5, least=False) if ours else "",
        )
    print_table(costs, load_before)

    columns = ("until ready", "to the first trial", "trials", "results", "to the end", "÷ trials")
    spent = table(
        "Where the seconds go (ready: imports, data, plans; ours also MLflow's database)", "side", *columns, words=1
    )
    for side in list(SIDES)[1:]:
        spent.add_row(side, *phases(seen[side], trials))
    print_table(spent, load_before)
    runs = seen["framework"]
    print(
        f"framework: {median(r['in_trial'] for r in runs):.2f} s in a trial itself; the tracking thread computed "
        f"{median(r['tracking_cpu'] for r in runs) / trials:.3f} s per trial while trials ran, "
        f"and was waited for {median(r['tracking_wait'] for r in runs):.1f} s after the last; the whole driver "
        f"computed {1e3 * median(r['driver_cpu_trials'] for r in runs):.0f} ms per trial from the first one's end to "
        f"the last one's, {1e3 * median(r['driver_cpu'] for r in runs):.0f} with the tracking after it, and had "
        f"{median(r['driver_peak'] for r in runs):,.0f} MiB at most"
    )


if __name__ == "__main__":
    main()
