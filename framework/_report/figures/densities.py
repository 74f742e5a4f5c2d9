"""How many weights each layer has kept, by variant."""

from collections.abc import Sequence
from itertools import cycle
from math import nan
from typing import TYPE_CHECKING

from framework._errors import DataError
from framework._report.figures.style import (
    LETTER,
    LINES,
    SMALL,
    WIDTH,
    canvas,
    ending,
    extent,
    headline,
    ordered,
    styled,
)
from framework._report.figures.variants import (
    Row,
    Sweep,
    drivers,
    finished,
    is_number,
    over_seeds,
    titled,
    told,
    variants,
    varying,
)
from framework._report.statistics import mean
from framework._report.variants import EXPERIMENT, Variant, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PRUNED = 0.001  # a sparsity that is not there by chance
_LEAST = 0.05  # a density below which a linear axis shows too little
_LONGEST = 24  # letters of a layer's name
_ROW = 0.13  # inches that a layer's name takes


def plot_densities(sweep: Sweep) -> "Figure":
    """The density of each layer, the part of its weights that are not 0: a line per variant, the mean over its seeds.

    The layers stand in forward order, those without any weight at the bottom, as crosses. Of more variants than can be
    told apart, there are those that are pruned the most.

    Args:
        sweep: the results; the variants that are not pruned are left out.

    Raises:
        DataError: none is pruned, too many are, or their networks have different layers, or a single one.
    """
    found, columns, which = _selected(sweep)
    layers = _layers(sweep, found)
    densities = [_densities(variant, layers) for variant in found]
    numbered = len(columns) == 1 and columns[0] != EXPERIMENT and is_number(sweep.frame(), columns[0])
    looks = [{**LINES[0], "color": color} for color in ordered(len(found))] if numbered else [*LINES]
    labels, title = [told(variant, columns) for variant in found], ", ".join(columns)
    beside = LETTER * max(map(len, (*labels, title))) + 0.5 if columns else 0.0
    names = [ending(name, _LONGEST) for name in layers]
    with styled():
        bottom = 0.2 + LETTER * max(map(len, names))
        figure, [axes] = canvas(WIDTH, 2.4 + bottom, top=0.45, left=0.78, right=0.2 + beside, bottom=bottom)
        crosses = "; ×: no weight left" if any(0 in each for each in densities) else ""
        seeds = over_seeds([len(variant.trials) for variant in found])
        headline(figure, f"{titled(found)}:  density of each layer", f"in forward order; {seeds}{which}{crosses}")
        places = range(len(layers))
        lowest = min((value for each in densities for value in each if value > 0), default=1.0)
        floor = 0.6 * lowest if lowest < _LEAST else 0.0
        for each, label, look in zip(densities, labels, cycle(looks), strict=False):
            axes.plot(places, [value or nan for value in each], **look, label=label if columns else None)
            empty = [place for place, value in zip(places, each, strict=True) if not value]
            axes.plot(empty, [floor] * len(empty), "x", ms=5, color=look["color"], zorder=3)
        _scale(axes, floor)
        _name(axes, names)
        axes.grid(axis="y")
        if columns:
            axes.legend(title=title, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def _selected(sweep: Sweep) -> tuple[list[Variant[Row]], list[str], str]:
    """The variants that are drawn, the columns in which they differ, and which ones they are, if not all."""
    trials = finished(sweep, "sparsity")
    found, which = variants(trials[trials["sparsity"] > _PRUNED], sweep.swept), ""
    if not found:
        raise DataError("no trial that has finished is pruned")
    if len(found) > len(LINES):
        along = drivers(trials, sweep.swept, "sparsity")
        apart = [column for column in varying(found, sweep.swept) if column not in along]
        by_sparsity = sorted(found, key=lambda one: mean(numbers(one.trials, "sparsity")))
        sparsest = {told(variant, apart): id(variant) for variant in by_sparsity}
        found, which = [variant for variant in found if id(variant) in sparsest.values()], "; where most is pruned"
    if len(found) > len(LINES):
        raise DataError(f"there are {len(found)} variants: {len(LINES)} at most can be told apart")
    columns = varying(found, sweep.swept)
    return found, [EXPERIMENT] if EXPERIMENT in columns and _distinct(found) else columns, which


def _distinct(found: Sequence[Variant[Row]]) -> bool:
    return len({variant.values[EXPERIMENT] for variant in found}) == len(found)


def _layers(sweep: Sweep, found: Sequence[Variant[Row]]) -> list[str]:
    """The layers in forward order."""
    first, *others = [sweep.layers(variant.trials[0].run_id) for variant in found]
    if any({*order} != {*first} for order in others):
        raise DataError("the networks have different layers")
    if len(first) < 2:
        raise DataError("the networks have a single layer, if any")
    return first


def _densities(variant: Variant[Row], layers: Sequence[str]) -> list[float]:
    return [1 - mean(numbers(variant.trials, f"sparsity/{layer}")) for layer in layers]


def _scale(axes: "Axes", floor: float) -> None:
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    axes.set_ylabel("density")
    if floor:
        axes.set_yscale("log")
        axes.set_ylim(0.85 * floor, 1.15)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        axes.minorticks_off()
    else:
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def _name(axes: "Axes", names: Sequence[str]) -> None:
    """As many as find room, from the first one on."""
    every = max(1, -(-int(len(names) * _ROW * 100) // int(extent(axes)[0] * 100)))
    shown = range(0, len(names), every)
    axes.set_xticks(shown, [names[index] for index in shown], rotation=90, fontsize=SMALL)
    axes.set_xlim(-0.6, len(names) - 0.4)
