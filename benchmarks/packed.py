"""Eight small trials at once on one GPU (`gpu: 0.125`) against one after the other (`gpu: 1`).

Each trains the built-in `convnet` on scikit-learn's digits, with another learning rate. Both sides are the same spec as
a `framework run` with a root of its own; what counts is the wall time of the whole process, less that of a run whose
only trial trains for a single step, which is Ray's start and the like. Needs a GPU, and a core for each trial.

    python benchmarks/packed.py [--trials 8] [--epochs 100] [--repeats 3]
"""

import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from common import load, parser, print_table, ratios, show, table, take_turns, verdict

SCRIPT = str(Path(sysconfig.get_path("scripts"), "framework"))
SPEC = """
name: packed
description: Small trials that share a GPU.
model: convnet
data: {{name: digits, validation: 0.1}}
stages:
  - train: {{{length}, optimizer: {{name: sgd, lr: {{grid_search: {rates}}}}}}}
resources: {{cpu: 1, gpu: {share}}}
"""


def seconds(length: str, trials: int, share: float) -> float:
    """How long a run takes."""
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder, "packed.yaml")
        spec.write_text(
            SPEC.format(length=length, rates=[round(0.001 * (i + 1), 3) for i in range(trials)], share=share)
        )
        began = time.perf_counter()
        subprocess.run([SCRIPT, "run", str(spec), "--root", folder], check=True, capture_output=True)
        return time.perf_counter() - began


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--trials", type=int, default=8)
    arguments.add_argument("--epochs", type=int, default=100)
    options = arguments.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this needs a GPU: without one there is nothing that trials could share by fractions")
    before, length = load(), f"epochs: {options.epochs}"
    sides: dict[str, Callable[[], float]] = {
        "start alone": partial(seconds, "steps: 1", 1, 1),
        "one after the other": partial(seconds, length, options.trials, 1),
        "at once": partial(seconds, length, options.trials, 1 / options.trials),
    }
    measured = take_turns(sides, options.repeats or 3, warmup=0)
    start = measured["start alone"]
    own = {name: [a - b for a, b in zip(taken, start, strict=True)] for name, taken in measured.items()}
    shown = table(
        f"{options.trials} trials on one GPU", "side", "whole, s", "without the start, s", "÷ serial", "target"
    )
    for name in sides:
        ratio = ratios(own["one after the other"], own[name]) if name == "at once" else None
        shown.add_row(
            *(name, show(measured[name], ".1f"), "" if name == "start alone" else show(own[name], ".1f")),
            *((show(ratio, ".2f"), verdict(median(ratio), 3, least=True)) if ratio else ("", "")),
        )
    print_table(shown, before)


if __name__ == "__main__":
    main()
