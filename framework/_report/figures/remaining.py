"""What is drawn against the remaining weights: a logarithmic axis, and the networks that are not pruned as a band."""

from collections.abc import Mapping, Sequence
from math import ceil, floor, log, log2, log10
from typing import TYPE_CHECKING

from framework._report.figures.style import INK, LETTER, extent
from framework._report.figures.variants import FEWEST, Row, told
from framework._report.statistics import interval, mean
from framework._report.variants import Variant, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REMAINING = "remaining"
_DENSE = 0.999  # of the weights; the others may be 0 by chance
_GAP = 0.08  # inches between labels
_MARGIN = 0.04  # of the axis, at either end


def is_dense(variant: Variant[Row]) -> bool:
    """Whether nothing is pruned."""
    return mean(numbers(variant.trials, REMAINING)) > _DENSE


def draw_dense(
    axes: "Axes", dense: Sequence[Variant[Row]], metric: str, apart: Sequence[str], colors: Mapping[str, str]
) -> None:
    """The mean of what is not pruned as a line, and its 95 % interval over the seeds as a band.

    Variants that came out the same, seed by seed, are one baseline: they differ in how nothing is pruned. Of several
    baselines each has the colour of the line that it belongs to.

    Args:
        axes: the panel, on whose x axis all is already.
        dense: the variants.
        metric: what is drawn.
        apart: the columns that set lines apart.
        colors: of the lines, by what they have in these columns.
    """
    baselines = {tuple(sorted(Variant({}, metric, one.trials).by_seed.items())): told(one, apart) for one in dense}
    for by_seed, name in baselines.items():
        values = [value for _, value in by_seed]
        color, label = INK, "dense"
        if len(baselines) > 1:
            color, label = colors.get(name, INK), "" if name in colors else f"dense, {name}"
        axes.plot(axes.get_xlim(), [mean(values)] * 2, color=color, lw=1, ls=(0, (4, 2)), zorder=1, label=label or None)
        if len(values) >= FEWEST and (bounds := interval(values)):
            axes.axhspan(*bounds, color=color, alpha=0.12, lw=0, zorder=0.5)


def scale(axes: "Axes", places: Sequence[float]) -> None:
    """A logarithmic axis on which fewer and fewer weights remain, labelled with the fraction and the compression.

    Args:
        axes: the panel.
        places: the fractions that are drawn, in (0, 1].
    """
    low, high = min(places), max(places)
    margin = max(high / low, 2) ** _MARGIN
    axes.set_xlim(high * margin, low / margin)  # first, as a single point has no range of its own
    axes.set_xscale("log")
    axes.set_xlabel("remaining weights, and compression")
    axes.minorticks_off()
    points = sorted({float(f"{place:.3g}") for place in places}, reverse=True)
    halves = [2.0**-k for k in range(ceil(-log2(high) - 0.01), floor(-log2(low) + 0.01) + 1)]
    tenths = [10.0**-k for k in range(ceil(-log10(high) - 0.01), floor(-log10(low) + 0.01) + 1)]
    inch = extent(axes)[0] / log(high / low * margin**2)
    for ticks in (points, halves, tenths):
        labels = [f"{_plain(100 * tick)} %\n{_plain(1 / tick)}×" for tick in ticks]
        wide = [LETTER * max(map(len, label.split("\n"))) + _GAP for label in labels]
        steps = zip(ticks, ticks[1:], wide, wide[1:], strict=False)
        if ticks and all(log(one / other) * inch > (a + b) / 2 for one, other, a, b in steps):
            break
    axes.set_xticks(ticks, labels)


def _plain(number: float) -> str:
    """Three digits, without an exponent: ``1.56``, ``1,000,000``, ``0.0001``."""
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:.15f}".rstrip("0").rstrip(".")
