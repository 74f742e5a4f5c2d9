"""The tables of `study.py`."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from common import print_table, ratios, show, table, verdict

PHASES = ("began", "ready", "first", "last", "fitted", "ended")


def print_costs(
    trials: int,
    epochs: int,
    measured: Mapping[str, list[float]],
    seen: Mapping[str, list[Any]],
    targets: Sequence[float],
    before: float,
) -> None:
    """What each side took; the last one is ours, and compared with the one before it.

    Args:
        trials: how many there are.
        epochs: how many they have together, each alone.
        measured: by side, the whole wall times.
        seen: by side, what was found in each round.
        targets: of the ratio of the wall times; the ratio of the epochs gives another one.
        before: the load of the machine.
    """
    other, ours = list(measured)[-2:]
    columns = ("trials", "epochs executed", "wall, s", "reuse_actors ÷ it", "epochs ÷ its", "target")
    costs = table("The study", "side", *columns, words=1)
    for side, values in measured.items():
        executed, faster = seen[side][0]["epochs"], ratios(measured[other], values)
        fewer = epochs / executed
        wanted = [0.9 * fewer, *targets] if side == ours else []
        costs.add_row(
            side,
            f"{trials}",
            f"{executed:,}",
            show(values, ".1f"),
            show(faster, ".2f"),
            f"{fewer:.2f}",
            "\n".join(verdict(median(faster), round(target, 2), least=True) for target in wanted),
        )
    print_table(costs, before)


def print_seconds(seen: Mapping[str, list[Any]], before: float) -> None:
    """When trials ran, and what was done in them."""
    columns = ("until ready", "to the first trial", "trials", "results", "to the end")
    within = (f"idle of {slots()} slots", "training", "else in trials")
    spent = table("Where the seconds go (ready: imports, data, plans)", "side", *columns, *within, words=1)
    for side, runs in seen.items():
        spans = [
            median(run["stamps"][after] - run["stamps"][early] for run in runs) for early, after in pairwise(PHASES)
        ]
        busy, training = (median(run[what] for run in runs) for what in ("busy", "training"))
        cells = (f"{1 - busy / (slots() * spans[2]):.0%}", f"{training:.1f}", f"{busy - training:.1f}")
        spent.add_row(side, *(f"{span:.1f}" for span in spans), *cells)
    print_table(spent, before)


def bounds(run: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """What takes our side's time besides the training that it cannot do without; each part in seconds of the whole."""
    at, each, each_other = run["stamps"], run["training"] / run["epochs"], other["training"] / other["epochs"]
    parts = {
        "start-up until the first trial": at["first"] - at["began"],
        "idle slots while trials ran": at["last"] - at["first"] - run["busy"] / slots(),
        "in trials besides training (imports, validation, snapshots, figures)": (run["busy"] - run["training"])
        / slots(),
        "training slower than by hand": run["epochs"] * (each - each_other) / slots(),
        "tracking after the last trial": at["fitted"] - at["last"],
        "exit": at["ended"] - at["fitted"],
    }
    whole = at["ended"] - at["began"]
    said = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items())
    most = max(parts, key=parts.__getitem__)
    return (
        f"framework, {whole:.1f} s in all: {said}; what bounds it most is {most} ({parts[most] / whole:.0%}). "
        f"An epoch's training takes {each:.2f} s; by hand {each_other:.2f} s."
    )


def slots() -> int:
    """How many trials run at once."""
    import torch

    return torch.cuda.device_count() or os.cpu_count() or 1


def print_results(trials: Sequence[Mapping[str, Any]], sides: Sequence[Mapping[str, Any]], before: float) -> None:
    """Compare what came out of two sides, variant by variant."""
    columns = ("seeds", "sparsity, by hand", "ours", "accuracy, by hand", "ours")
    made = table("What came out (test accuracy; means over the seeds)", "experiment", "variant", *columns, words=2)
    variants = defaultdict(list)
    for trial in trials:
        variants[trial["experiment"], trial["variant"]].append(f"{trial['experiment']} {trial['name']}")
    furthest = 0.0
    for (experiment, variant), names in variants.items():
        means = [
            [fmean(side["trials"][name][metric] for name in names) for side in sides]
            for metric in ("sparsity", "test/accuracy")
        ]
        furthest = max(furthest, abs(means[0][0] - means[0][1]))
        made.add_row(experiment, variant, f"{len(names)}", *(f"{value:.4f}" for pair in means for value in pair))
    print_table(made, before)
    print(f"the sparsities differ by {furthest:.4f} at most")
