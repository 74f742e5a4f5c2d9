"""What figures and what they show cost, per trial, and where.

A trial as of the study: ResNet-18, 30 epochs of five stages, pruned and unpruned, ten classes. It costs
  in the trial    the spread of its weights after each of five stages, and the confusion
  in the driver   handing the trial over to be drawn and taking its files back
  beside          drawing it, in processes that yield to all others (CPU time; their start is told below the table)
"""

import json
import random
import resource
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from common import load, parser, print_table, show, table, verdict
from torch import nn

from framework import Classification
from framework._executors.renderer import FigureRenderer
from framework._measures import Meter
from framework._report.figures import FigureData, trial_figures
from framework._report.figures.files import as_files
from framework_plugins.histograms import spread
from framework_plugins.models.resnet import resnet18

TARGET = 1.0
EPOCHS, CLASSES, TRIALS = 30, 100, 10
STAGES = ["train", "prune amount=0.2", "train", "unprune", "train"]


def make_trial(layers: list[str], states: list[dict[str, object]], classes: int) -> FigureData:
    """A trial with all that there is to draw."""
    draw = random.Random(0)
    records = []
    for epoch in range(1, EPOCHS + 1):
        stage = 2 * ((epoch - 1) * 3 // EPOCHS)
        values = {name: draw.random() for name in ("train/loss", "val/loss", "train/accuracy", "val/accuracy")}
        sparsity = dict.fromkeys(("sparsity", *(f"sparsity/{layer}" for layer in layers)), 0.0)
        if stage:
            sparsity = {name: draw.random() * 0.3 for name in sparsity}
        records.append((epoch, stage, {**values, **sparsity, "frozen": 0.0}))
    records.append((EPOCHS, 4, {"test/loss": 0.5, "test/accuracy": 0.9}))
    counts = [[draw.randrange(100) for _ in range(classes)] for _ in range(classes)]
    files = {"classes": [f"class {index}" for index in range(classes)], "counts": counts}
    files_drawn = {"weights.json": states, "confusion.json": files}
    return FigureData(
        "unprune   prune.amount=0.2 seed=1",
        STAGES,
        records,
        {n: json.dumps(c).encode() for n, c in files_drawn.items()},
    )


def cpu(job: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    job()
    return time.process_time() - began


def beside(trial: FigureData, trials: int) -> tuple[float, float]:
    """CPU seconds of the processes that draw so many trials, and of this one meanwhile."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with FigureRenderer() as renderer:
        here = cpu(lambda: [drawn.result() for drawn in [renderer.draw(trial) for _ in range(trials)]])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, here


def main() -> None:
    options = parser(__doc__).parse_args()
    repeats = options.repeats or 3
    torch.set_num_threads(1)
    load_before = load()
    network = resnet18((3, 32, 32), 10)
    weights = {name: p for name, p in network.named_parameters() if p.ndim > 1}
    states = [
        {"stage": stage - 1, "name": STAGES[stage - 1].split()[0], **spread(weights.values())} for stage in range(6)
    ]
    for state in states[2:]:
        state["zeros"] = 10**6
    trial = make_trial([name.removesuffix(".weight") for name in weights], states, 10)
    labels = torch.arange(10_000) % CLASSES
    spreads = [5 * cpu(partial(spread, weights.values())) for _ in range(repeats)]
    meter = Meter(Classification([""] * CLASSES), files=True)
    meter.update(nn.functional.one_hot(labels.flip(0), CLASSES), labels)
    confusions = [cpu(meter.files) for _ in range(repeats)]
    both = [(beside(trial, 2), beside(trial, TRIALS + 2)) for _ in range(repeats)]
    drawing = [(many[0] - few[0]) / TRIALS for few, many in both]
    handing = [(many[1] - few[1]) / TRIALS for few, many in both]
    made = table("Figures and what they show: CPU seconds per trial", "where", "what", "CPU s", "")
    made.add_row("in the trial", "spread of the weights, five stages", show(spreads, ".3f"), "")
    made.add_row("in the trial", "confusion of 10,000 images", show(confusions, ".3f"), "")
    made.add_row("in the driver", "hand over, take back", show(handing, ".3f"), "")
    made.add_row("beside", "draw four figures, PNG and SVG", show(drawing, ".3f"), "")
    whole = median(spreads) + median(confusions) + median(handing) + median(drawing)
    made.add_row("", "all", f"{whole:.3f}", verdict(whole, TARGET, least=False))
    print_table(made, load_before, "CPU time")
    starts = [(few[0] - 2 * each) / 2 for (few, _), each in zip(both, drawing, strict=True)]
    print(f"starting a process that draws: {median(starts):.2f} CPU s, once for each of at most two")
    files = as_files(trial_figures(trial))
    print("files:", ", ".join(f"{name} {len(content) / 1000:.0f} kB" for name, content in files.items()))
    print(f"together: {sum(map(len, files.values())) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
