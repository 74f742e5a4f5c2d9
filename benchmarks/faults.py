"""Fifty random kills, and what is left of them: nothing.

A study of six trials on scikit-learn's digits (a convnet with dropout and augmentation, SGD with momentum and a cosine;
train, prune to three amounts, train masked, unprune, train; two seeds) is run once undisturbed. Then it is run again in
new folders, by the command `framework run` as a user gives it, and is killed (SIGKILL) at random moments:
  driver    the command itself; the same command is given again at once, while its workers may still be there
  worker    one of the processes that run trials; the command goes on by itself
  both      the command and all of its workers
A quarter of the kills of the command fall into its start, the others after it. When a root's share of the kills is used
up, the command is given until it ends. Then everything in the root must be equal to what the undisturbed run has left:
final weights in the store and in the logged models, bit for bit; all values of all metrics but `images_per_second`,
each epoch once; one run for each trial, FINISHED, and none RUNNING.

The stage `train` is a plugin's that derives from ours and writes down each epoch that it executes, so that what a kill
has cost is counted and not believed. An epoch that was cut short is not in that count.

    python benchmarks/faults.py [--kills 50] [--roots 5] [--seed 0] [--scale 1.0] [--keep FOLDER]
"""

import itertools
import os
import random
import shutil
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping
from pathlib import Path

from common import load, print_table, table
from killing import Kill, Root
from results import Left, differences, read

NAME = "faults"
SPEC = """
name: faults
description: Six trials that are killed all the time.
model: {{name: convnet, widths: [64, 128, 256], dropout: 0.2}}
data: {{name: digits, validation: 0.1, augment: [crop]}}
seeds: [0, 1]
defaults:
  counted_train:
    batch_size: 64
    optimizer: {{name: sgd, lr: 0.05, momentum: 0.9, weight_decay: 5e-4}}
    schedule: cosine
stages:
  - counted_train: {{epochs: {0}}}
  - prune: {{amount: {{grid_search: [0.2, 0.5, 0.8]}}}}
  - counted_train: {{epochs: {1}}}
  - unprune
  - counted_train: {{epochs: {2}}}
resources: {{retries: 50}}
"""
EPOCHS = (40, 20, 20)
PLUGIN = {
    "counted.py": """
import os, time
from dataclasses import dataclass
from framework import hookimpl
from framework_plugins.stages.train import Train

@dataclass(frozen=True)
class CountedTrain(Train):
    def run(self, trial):
        report = trial.report

        def counted(metrics):
            line = f"{trial.seed} {trial.epoch} {os.getpid()} {time.time()}\\n".encode()
            file = os.open(os.environ["COUNTED_EPOCHS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, line)  # at once, so that lines of several processes do not mix
            os.close(file)
            report(metrics)

        trial.report = counted
        try:
            super().run(trial)
        finally:
            del trial.report

@hookimpl
def register_stages():
    return {"counted_train": CountedTrain}
""",
    "counted-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: counted\nVersion: 1.0\n",
    "counted-1.0.dist-info/entry_points.txt": "[framework]\ncounted = counted\n",
}
PATIENCE = 600.0  # seconds; a command that takes longer hangs


def environment(folder: Path, ray: str) -> dict[str, str]:
    """That of a user who has set nothing, with the plugin installed."""
    ours = ("MLFLOW_", "RAY_", "FRAMEWORK_", "PYTHONPATH", "COLUMNS")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**inherited, "PYTHONPATH": str(folder / "plugin"), "RAY_TMPDIR": ray}


def wait(root: Root, until: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Wait for this, or for the command's end; whether it came to it."""
    end = time.monotonic() + patience
    while not until():
        if root.commands[-1].poll() is not None:
            return False
        if time.monotonic() > end:
            root.clear()
            root.commands[-1].kill()
            sys.exit(f"the command hangs: {root.folder}")
        time.sleep(0.02)
    return True


def undisturbed(folder: Path, environment: Mapping[str, str]) -> tuple[Root, float, float]:
    """Run the study; its root, and the seconds of the command's start and of what came then."""
    root = Root(folder / "undisturbed", 0, environment)
    root.start()
    wait(root, lambda: bool(root.executed()))
    start = time.monotonic() - root.began
    finish(root)
    return root, start, time.monotonic() - root.began - start


def finish(root: Root) -> None:
    """Wait until the command has ended."""
    wait(root, lambda: False)
    if root.commands[-1].returncode:
        output = (root.folder / f"output-{len(root.commands) - 1}.txt").read_text()
        print(f"{root.folder.name}: the command ended with {root.commands[-1].returncode}:\n{output[-2000:]}")


def disturb(root: Root, kills: int, start: float, reach: float, chance: random.Random) -> None:
    """Run the study with so many kills, or until it is done."""
    root.start()
    counted_from = root.began
    while len(root.kills) < kills:
        [what] = chance.choices(("driver", "worker", "both"), (3, 4, 3))
        fresh = counted_from == root.began
        early = fresh and what != "worker" and chance.random() < 0.25
        delay = start * chance.random() if early else start * fresh + reach * chance.random()
        wait(root, lambda due=counted_from + delay: time.monotonic() >= due)
        # A worker's kill waits for a worker: after another kill it takes seconds until there is one again.
        if not wait(root, lambda what=what: root.kill(what, chance)):
            break
        counted_from = time.monotonic()
        if root.kills[-1].what != "worker":
            root.start()
            counted_from = root.began
    finish(root)


def show(kills: list[Kill], outcomes: Mapping[int, str], load_before: float) -> None:
    columns = ("root", "during", "s into the command", "workers outlived it by, s", "epochs repeated", "outcome")
    made = table(f"{len(kills)} kills", "kill", "of", *columns, words=2)
    for number, kill in enumerate(kills, 1):
        cells = (f"{kill.root}", kill.during, f"{kill.seconds:.1f}", f"{kill.outlived:.1f}" if kill.alive else "")
        made.add_row(f"{number}", kill.what, *cells, f"{kill.repeated}", outcomes[kill.root])
    print_table(made, load_before)


def main() -> None:
    arguments = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=50)
    arguments.add_argument("--roots", type=int, default=5, help="over how many runs of the study they are spread")
    arguments.add_argument("--seed", type=int, default=0, help="of what is killed, and when")
    arguments.add_argument("--scale", type=float, default=1.0, help="of the epochs; 1 is two minutes of training")
    arguments.add_argument("--keep", type=Path, help="leave everything in this new folder")
    options = arguments.parse_args()
    load_before, began = load(), time.monotonic()
    folder = (options.keep or Path(tempfile.mkdtemp(prefix="faults-"))).absolute()
    ray = tempfile.mkdtemp(prefix="ray-")  # not in that folder: the paths of Ray's sockets must be short
    for name, text in PLUGIN.items():
        file = folder / "plugin" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (folder / "faults.yaml").write_text(SPEC.format(*(max(1, round(options.scale * epochs)) for epochs in EPOCHS)))
    try:
        failed = campaign(folder, environment(folder, ray), options.kills, options.roots, options.seed, load_before)
    finally:
        shutil.rmtree(ray, ignore_errors=True)
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"all of it took {(time.monotonic() - began) / 60:.1f} minutes")
    sys.exit(failed)


def compare(root: Root, wanted: Left) -> list[str]:
    """What is wrong in a root; a kill may have left something that cannot even be read."""
    if not (root.results / "mlflow.db").exists():
        return ["there is no database"]
    try:
        return differences(read(root.results, NAME), wanted)
    except Exception as error:
        return [f"{type(error).__name__}: {str(error).splitlines()[0]}"]


def campaign(
    folder: Path, environment: Mapping[str, str], kills: int, roots: int, seed: int, load_before: float
) -> bool:
    """Run the study undisturbed, then disturbed; whether anything went wrong."""
    reference, start, rest = undisturbed(folder, environment)
    reference.clear()
    executed, distinct = reference.count()
    wanted = read(reference.results, NAME)
    wrong = differences(wanted, wanted)
    print(
        f"undisturbed: {start:.0f} s to the first epoch, {rest:.0f} s then; {executed} epochs ({distinct} distinct), "
        f"{len(wanted.trials)} trials" + "".join(f"; {text}" for text in wrong)
    )
    chance = random.Random(seed)
    share = -(-kills // roots)
    # Kills on the way to the end, not all at the beginning; one in six falls into a start.
    reach = 1.7 * rest / (share * 5 / 6)
    done: list[Root] = []
    outcomes: dict[int, str] = {}
    for index in itertools.count(1):
        left = kills - sum(len(root.kills) for root in done)
        if not left:
            break
        root = Root(folder / f"root-{index}", index, environment)
        disturb(root, min(share, left), start, reach, chance)
        done.append(root)
        remained = root.clear()
        executed, distinct = root.count()
        wrong = compare(root, wanted)
        if root.commands[-1].returncode:
            wrong.append(f"the command ended with {root.commands[-1].returncode}")
        outcomes[index] = "[red]differs[/]" if wrong else "equal"
        print(
            f"root {index}: {len(root.kills)} kills, {len(root.commands)} commands, {executed} epochs executed "
            f"({distinct} distinct), {remained} processes remained; {'; '.join(wrong) or 'equal'}",
            flush=True,
        )
    all_kills = [kill for root in done for kill in root.kills]
    show(all_kills, outcomes, load_before)
    good = sum(outcomes[kill.root] == "equal" for kill in all_kills)
    print(f"{good} of {len(all_kills)} equal to the undisturbed run")
    return good < len(all_kills)


if __name__ == "__main__":
    main()
