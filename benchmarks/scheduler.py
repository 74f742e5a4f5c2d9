"""What each trial costs the driver: our searcher with the stage scheduler, against plain Ray Tune with a grid.

The trials do nothing: one `tune.report`, no sleep, no data. Both sides with `reuse_actors=True` and one CPU each:
  grid        `param_space={"trial": tune.grid_search(...)}`
  scheduler   the searcher and the callback of `framework._executors.ray_tune`, over trials of three stages of which ten
              each share the first and five each the second; the callback tells the scheduler that stages are stored
Each side is a process of its own with a Ray of its own. What counts is the CPU time of the driver, from the first
trial's report to the last one's end, without the start of Ray and of its workers; and the most memory that it has had.
`--trials 100,1000,10000` shows whether the cost of a trial grows with their number; that takes tens of minutes.

A second table is the CPU time inside the scheduler itself, without Ray: two slots, and the trials end in the order in
which they started. Where it would take longer than a few seconds, only the first trials take part; these cost most, as
the most others wait.

    python benchmarks/scheduler.py [--trials 100,1000] [--repeats 1] [--keep FOLDER]
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from common import load, parser, peak, print_table, ratios, show, table, take_turns

from framework._executors.events import Ended, TrialEvent
from framework._executors.queue import TrialQueue
from framework._executors.scheduler import StageScheduler
from framework._measures import CLASSIFIED
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._spec import SearchSpec
from framework._trial import StageEnd, StagesEnded

ALONE = (100, 1_000, 10_000)
LONGEST = 10.0  # CPU seconds, for the scheduler alone


def make_plans(trials: int) -> list[TrialPlan]:
    """Trials that share stages."""
    stages = ({"name": "train"}, {"name": "prune"}, {"name": "train"})
    resources = {"cpu": 1, "gpu": 0, "timeout": None, "retries": 0}
    return [
        TrialPlan(
            *("many", {"trial": i}, 0, {}, {}, stages, resources),
            keys=("r", f"{i // 10}a", f"{i // 5}b", f"{i}c"),
            stage_epochs=(10, 0, 5),
        )
        for i in range(trials)
    ]


def mute(*_: object) -> None:
    """Nothing is kept or shown."""


Cost = tuple[float, float]  # CPU seconds of the driver for all trials, and its peak memory in MiB


def grid(folder: Path, trials: int) -> Cost:
    from ray import tune

    def trial(config: dict[str, Any]) -> None:
        tune.report({"done": 1})

    return fitted(trial, folder, {"trial": tune.grid_search(list(range(trials)))}, {"reuse_actors": True})


def scheduled(folder: Path, trials: int) -> Cost:
    from ray import tune

    from framework._executors.ray_tune.callback import TuneCallback
    from framework._executors.ray_tune.halving import Halving
    from framework._executors.ray_tune.trials import _ENDLESS, _Turns

    plans, data = make_plans(trials), SimpleNamespace(source=lambda plan: (), measures=lambda plan: CLASSIFIED)
    results = {plan.identity: Result(plan, {}, 0, 0.0) for plan in plans}
    specs = [SimpleNamespace(name="many", search=SearchSpec(), seeds=[0])]
    scheduler = StageScheduler(plans, ())
    queue = TrialQueue(specs, [], {}, results, scheduler, data, mute, mute, mute)

    def handle(plan: TrialPlan, event: TrialEvent) -> None:
        for end in event.ends if isinstance(event, StagesEnded) else ():
            scheduler.stored(end.key)

    def trial(config: dict[str, Any]) -> None:
        plan = config["task"].plan
        ends = tuple(StageEnd(i, key, 0, executed=True) for i, key in enumerate(plan.keys[1:]))
        tune.report({"events": [StagesEnded(ends), Ended(Result(plan, {}, 0, 0.0))]})

    how = {
        "search_alg": _Turns(queue, lambda plan: plan, {"many": {"cpu": 1}}, lambda: os.cpu_count() or 1),
        "scheduler": Halving(specs),
        "num_samples": _ENDLESS,
        "reuse_actors": True,
    }
    return fitted(trial, folder, {}, how, TuneCallback(queue, handle))


def fitted(trial: Any, folder: Path, space: dict[str, Any], how: dict[str, Any], *callbacks: Any) -> Cost:
    """Run the trials; what the driver takes from the first one's report to the last one's end."""
    import ray
    from ray import tune

    stamps: list[float] = []

    class Stopwatch(tune.Callback):
        def on_trial_result(self, **info: Any) -> None:
            if not stamps:
                stamps.append(time.process_time())

        def on_trial_complete(self, **info: Any) -> None:
            stamps[1:] = [time.process_time()]

    ray.init(address="local", include_dashboard=False, logging_level="ERROR")
    tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(**how),
        run_config=tune.RunConfig(
            name="many", storage_path=str(folder), verbose=0, callbacks=[Stopwatch(), *callbacks]
        ),
    ).fit()
    ray.shutdown()
    return stamps[1] - stamps[0], peak()


SIDES: dict[str, Callable[[Path, int], Cost]] = {"grid": grid, "scheduler": scheduled}


def in_fresh_process(side: str, trials: int, keep: Path | None, peaks: dict[str, list[float]]) -> float:
    """Run a side in a process and a folder of its own; the driver's CPU milliseconds for each trial."""
    with nullcontext(keep) if keep else tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).absolute() / f"{time.time():.0f} {side} {trials}"
        folder.mkdir(parents=True)
        command = [sys.executable, __file__, "--trials", str(trials), "--side", side, "--folder", str(folder)]
        with (folder / "output.txt").open("w") as output:
            code = subprocess.run(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
        if code:
            sys.exit(f"{side} ended with {code}:\n{(folder / 'output.txt').read_text()[-3000:]}")
        seconds, memory = json.loads((folder / "cost.json").read_text())
        peaks.setdefault(side, []).append(memory)
        return 1e3 * float(seconds) / trials


def alone(trials: int) -> tuple[float, float, int]:
    """CPU seconds of the scheduler without Ray: to make it, for each trial, and for how many trials it was measured."""
    plans = make_plans(trials)
    began = time.process_time()
    scheduler = StageScheduler(plans, ())
    made = time.process_time()
    running: deque[int] = deque()
    ended = 0
    while not scheduler.done and time.process_time() - made < LONGEST:
        while len(running) < 2 and (index := scheduler.next()) is not None:
            running.append(index)
        index = running.popleft()
        for key in plans[index].keys[1:]:
            scheduler.stored(key)
        scheduler.ended(index)
        ended += 1
    return made - began, (time.process_time() - made) / ended, ended


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--trials", default="100,1000", help="how many; several, separated by commas")
    arguments.add_argument("--keep", type=Path, help="leave everything in this folder")
    arguments.add_argument("--side", choices=list(SIDES), help="(what the processes are started with)")
    arguments.add_argument("--folder", type=Path, help="(likewise)")
    options = arguments.parse_args()
    if options.cpu_time:
        sys.exit("it is CPU time as it is")
    if options.side:
        cost = SIDES[options.side](options.folder, int(options.trials))
        (options.folder / "cost.json").write_text(json.dumps(cost))
        return

    load_before = load()
    columns = ("CPU of the driver per trial, ms", "÷ grid", "its memory, MiB")
    costs = table("A trial that does nothing, under Ray Tune", "trials", "side", *columns)
    for trials in map(int, options.trials.split(",")):
        peaks: dict[str, list[float]] = {}
        sides = {side: partial(in_fresh_process, side, trials, options.keep, peaks) for side in SIDES}
        measured = take_turns(sides, options.repeats or 1, warmup=0)
        for side, values in measured.items():
            costs.add_row(
                f"{trials:,}" if side == "grid" else "",
                side,
                show(values, ".1f"),
                show(ratios(values, measured["grid"]), ".2f"),
                show(peaks[side], ",.0f"),
                end_section=side == "scheduler",
            )
    print_table(costs, load_before, "CPU time")

    load_before = load()
    inside = table("CPU time inside the scheduler", "trials", "to make it, ms", "per trial, ms", "measured", words=1)
    for trials in ALONE:
        found = [alone(trials) for _ in range(options.repeats or 1)]
        inside.add_row(
            f"{trials:,}",
            f"{1e3 * median(made for made, _, _ in found):.1f}",
            f"{1e3 * median(each for _, each, _ in found):.2f}",
            "all" if found[0][2] == trials else f"the first {found[0][2]:,}",
        )
    print_table(inside, load_before, "CPU time")


if __name__ == "__main__":
    main()
