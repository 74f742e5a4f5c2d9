"""What sharing epochs saves: `epochs: {grid_search: [10, 20, 40]}` as one run, and as three that share nothing.

The three trials are trained on synthetic images in this process, one after another, by the trial runner with a store in
a temporary folder: without tracking, figures and Ray. Two sides, in turn:
  shared   one store; the longest trial trains, and keeps its state where the others end
  alone    a store for each trial, and no splits: what earlier versions did
The ratio of the epochs is 70 ÷ 40 = 1.75. What is missing to it is what the splits and the two further starts cost. The
final states of both sides are checked to be equal, bit for bit.

    python benchmarks/lengths.py [--repeats 5] [--images 2000] [--cpu-time]
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from common import clock, load, measured_in, parser, print_table, ratios, show, table, take_turns, timed
from torch import Tensor

from framework import Dataset, hookimpl
from framework._plan import SplitStages, TrialPlan, make_plans
from framework._registry import installed
from framework._spec import load as load_spec
from framework._spec.grid import expand_grids
from framework._store import Store
from framework._trial import prepare, run_trial

SPEC = """
name: lengths
model: convnet
data: {{name: noise, images: {images}, validation: 0.1, augment: [crop]}}
stages:
  - train: {{epochs: {{grid_search: [10, 20, 40]}}, batch_size: 64, optimizer: {{name: sgd, lr: 0.05, momentum: 0.9}}}}
"""


class Noise:
    """Registers images that cost nothing to get."""

    @hookimpl
    def register_datasets(self):
        return {"noise": noise}


def noise(images: int) -> Dataset:
    """Noise in ten brightnesses, 16×16."""
    random, labels = np.random.default_rng(0), np.arange(images, dtype=np.int64) % 10
    pixels = (random.integers(0, 128, (images, 1, 16, 16)) + 12 * labels[:, None, None, None]).astype(np.uint8)
    return Dataset(pixels, labels, pixels[:100], labels[:100], tuple("0123456789"))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=2000)
    options = options.parse_args()
    registry = installed()
    registry.add(Noise(), "benchmark 1")
    before = load()
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder, "lengths.yaml")
        spec.write_text(SPEC.format(images=options.images))
        plans = SplitStages()(make_plans(load_spec(spec, registry), expand_grids))
        source = prepare(plans[0].data, registry)
        ends: dict[str, list[dict[str, Tensor]]] = {"shared": [], "alone": []}

        def train(side: str, plans: Sequence[TrialPlan]) -> None:
            with tempfile.TemporaryDirectory(dir=folder) as kept:
                for plan in plans:
                    store = Store(kept if side == "shared" else f"{kept}/{plan.key}")
                    run_trial(plan, registry, source, store, lambda report: None)
                    ends[side].append(store.load(plan.key)[0])

        now, unsplit = clock(options), [replace(plan, splits=()) for plan in plans]
        sides = {
            "shared": timed(now, partial(train, "shared", plans[::-1])),
            "alone": timed(now, partial(train, "alone", unsplit[::-1])),
        }
        found = take_turns(sides, options.repeats or 5, warmup=0)
    for one, other in zip(ends["shared"], ends["alone"], strict=True):
        if one.keys() != other.keys() or any(not one[name].equal(other[name]) for name in one):
            sys.exit("a trial that shares its epochs ends otherwise than alone")
    made = table("epochs: {grid_search: [10, 20, 40]}", "side", "epochs", "seconds", "alone ÷ shared")
    seconds = {name: [value / 1e3 for value in values] for name, values in found.items()}
    made.add_row("alone", "70", show(seconds["alone"], ".1f"), "")
    made.add_row("shared", "40", show(seconds["shared"], ".1f"), show(ratios(found["alone"], found["shared"]), ".2f"))
    print_table(made, before, measured_in(options))
    print(f"of 1.75 that the epochs allow: {median(ratios(found['alone'], found['shared'])) / 1.75:.2f}")


if __name__ == "__main__":
    main()
