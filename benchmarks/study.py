"""The whole study: one `framework run`, against the same trials on plain Ray Tune.

The trials are those of experiments/ as the framework plans them: both sides run the same list. Each side is a fresh
process in a new folder, its database included:
  plain Ray                a function trainable that goes through a trial's stages by hand, with `torch.nn.utils.prune`,
                           a report each epoch and `MLflowLoggerCallback` on SQLite; see by_hand.py. What is shared with
                           the framework is the networks' code and `framework.ImageBatches`
  plain Ray, reuse_actors  the same, but that trials take turns in a process
  framework                `framework run`, as a user gives it

The sides in turn; whole wall time from the start of the process to its end. The epochs ratio is what merging the trials
could save at most; the wall times shall have at least 0.9 of it, and those of the pruning specs a ratio of 2.3. Further
tables say where the seconds went, and compare what came out.

    python benchmarks/study.py [--specs all|pruning] [--data digits|FILE.npz] [--images N] [--epochs 1.0]
                               [--seeds 0,1] [--set PATH=VALUE] [--reuse-only] [--repeats 1] [--keep FOLDER]
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import by_hand
import numpy as np
from common import load, parser, take_turns
from results import tracked
from study_tables import bounds, print_costs, print_results, print_seconds

SCRIPT = str(Path(sysconfig.get_path("scripts"), "framework"))
SPECS = {
    "all": ("baseline", "output_variants", "freeze", "prune_finetuned", "prune_pretrained", "unprune"),
    "pruning": ("prune_finetuned", "unprune"),
}
PLAIN, REUSED, OURS = "plain Ray", "plain Ray, reuse_actors", "framework"


@dataclass(frozen=True)
class Study:
    """What both sides run.

    Attributes:
        files: specs.
        words: of the command line, beside the specs.
        trials: the trials, as plain data.
    """

    files: tuple[Path, ...]
    words: tuple[str, ...]
    trials: tuple[Mapping[str, Any], ...]

    @property
    def epochs(self) -> int:
        return sum(stage.get("epochs") or 0 for trial in self.trials for stage in trial["stages"])


def make_study(options: Namespace, folder: Path) -> Study:
    """Write the specs, with their epochs scaled, and plan them."""
    from framework._executors.session import plan_all
    from framework._registry import installed
    from framework._spec import load_specs

    def scaled(found: re.Match[str]) -> str:
        return f"epochs: {max(1, round(int(found[1]) * options.epochs))}"

    folder.mkdir(parents=True)
    source = Path(__file__).parent.parent / "experiments"
    for file in source.glob("*.yaml"):
        (folder / file.name).write_text(re.sub(r"epochs: (\d+)", scaled, file.read_text()))
    files = tuple(folder / f"{name}.yaml" for name in SPECS[options.specs])
    # Nothing is downloaded: what is pretrained in the study starts at random here.
    sets = [*_data(options, folder), "model.weights=null", *options.set]
    seeds = tuple(map(int, options.seeds.split(",")))
    plans = [plan for trials in plan_all(load_specs(files, sets, seeds, installed())).values() for plan in trials]
    trials = tuple(
        {
            **{key: getattr(plan, key) for key in ("experiment", "name", "variant", "seed")},
            **{key: json.loads(json.dumps(getattr(plan, key))) for key in ("model", "data", "stages")},
        }
        for plan in plans
    )
    words = [word for setting in sets for word in ("--set", setting)]
    return Study(files, (*words, "--seeds", options.seeds), trials)


def _data(options: Namespace, folder: Path) -> list[str]:
    if options.data == "digits":
        return ["data.name=digits"]
    arrays = dict(np.load(options.data))
    for name in ("x_train", "y_train") if options.images else ():
        arrays[name] = arrays[name][: options.images]
    np.savez(folder / "images.npz", **arrays)
    return ["data.name=npz", f"data.path={folder / 'images.npz'}"]


# --- the sides ------------------------------------------------------------------------------------------------------


def in_plain_ray(study: Study, folder: Path, reuse_actors: bool) -> dict[str, Any]:
    """Run the trials by hand, in a process of its own."""
    (folder / "trials.json").write_text(json.dumps(study.trials))
    side = REUSED if reuse_actors else PLAIN
    began = time.time()
    command = [sys.executable, __file__, "--side", side, "--folder", str(folder)]
    with (folder / "output.txt").open("w") as output:
        code = subprocess.run(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False).returncode
    ended = time.time()
    if code:
        sys.exit(f"{side} ended with {code}:\n{(folder / 'output.txt').read_text()[-3000:]}")
    found = json.loads((folder / "found.json").read_text())
    trials = {_name(study.trials[int(index)]): trial for index, trial in found["trials"].items()}
    return {
        "stamps": {"began": began, **found["stamps"], "ended": ended},
        "epochs": sum(trial["epochs"] for trial in trials.values()),
        "busy": sum(trial["time_total_s"] for trial in trials.values()),
        "training": sum(trial["training"] for trial in trials.values()),
        "images": found["images"],
        "trials": trials,
    }


def in_framework(study: Study, folder: Path) -> dict[str, Any]:
    """Run the command, and read what it says and leaves."""
    root = folder / "mlruns"
    ours = ("MLFLOW_", "RAY_", "FRAMEWORK_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    stamps = {"began": time.time()}
    command = [SCRIPT, "run", *map(str, study.files), *study.words, "--root", str(root)]
    busy = 0.0
    with (
        (folder / "output.txt").open("w") as output,
        subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        for line in process.stdout or ():
            output.write(line)
            if re.match(r"\d+ trials? to run", line):
                stamps["ready"] = time.time()
            if ended := re.match(r"\[\d+/\d+\] .*, ([\d.]+) s$", line):
                stamps["last"], busy = time.time(), busy + float(ended[1])
    stamps["ended"] = time.time()
    if process.returncode:
        sys.exit(f"framework ended with {process.returncode}:\n{(folder / 'output.txt').read_text()[-3000:]}")
    found = tracked(root)
    found["stamps"] |= stamps
    return {"busy": busy, **found}


def _name(trial: Mapping[str, Any]) -> str:
    return f"{trial['experiment']} {trial['name']}"


def measure(side: str, study: Study, keep: Path | None, seen: list[dict[str, Any]]) -> float:
    """Run a side in a folder of its own; whole wall time in seconds."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep.absolute() / f"{len(seen)} {side}" if keep else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if side == OURS:
            found = in_framework(study, folder)
        else:
            found = in_plain_ray(study, folder, reuse_actors=side == REUSED)
    if len(found["trials"]) != len(study.trials):
        sys.exit(f"{side}: only {len(found['trials'])} of {len(study.trials)} trials finished")
    seen.append(found)
    return found["stamps"]["ended"] - found["stamps"]["began"]


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--specs", choices=list(SPECS), default="all")
    arguments.add_argument("--data", default="digits", help="digits, or an npz")
    arguments.add_argument("--images", type=int, help="train on so many images of the npz only")
    arguments.add_argument("--epochs", type=float, default=1.0, help="factor on all epochs")
    arguments.add_argument("--seeds", default="0,1")
    arguments.add_argument("--set", action="append", default=[], help="a setting for both sides, as `framework run`")
    arguments.add_argument("--reuse-only", action="store_true", help="leave out plain Ray without reuse_actors")
    arguments.add_argument("--keep", type=Path, help="leave everything in this new folder")
    arguments.add_argument("--side", choices=[PLAIN, REUSED], help="(what the processes are started with)")
    arguments.add_argument("--folder", type=Path, help="(likewise)")
    options = arguments.parse_args()
    if options.cpu_time:
        sys.exit("how the slots are filled is what this measures: wall time only")
    if options.side:
        trials = json.loads((options.folder / "trials.json").read_text())
        found = by_hand.run(options.folder, trials, reuse_actors=options.side == REUSED)
        (options.folder / "found.json").write_text(json.dumps(found))
        return

    with tempfile.TemporaryDirectory() as temporary:
        study = make_study(options, Path(temporary, "specs"))
        before = load()
        sides = [REUSED, OURS] if options.reuse_only else [PLAIN, REUSED, OURS]
        seen: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        calls = {side: partial(measure, side, study, options.keep, seen[side]) for side in sides}
        measured = take_turns(calls, options.repeats or 1, warmup=0)
    for run in seen[OURS]:
        run["training"] = run["epochs"] * run["seconds_per_image"] * seen[REUSED][0]["images"]
    targets = [2.3] if options.specs == "pruning" else []
    print_costs(len(study.trials), study.epochs, measured, seen, targets, before)
    print_seconds(seen, before)
    print(bounds(seen[OURS][-1], seen[REUSED][-1]))
    print_results(study.trials, [seen[REUSED][-1], seen[OURS][-1]], before)


if __name__ == "__main__":
    main()
