"""A metric against another one, or against a number that was swept."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from framework._errors import DataError, nearest
from framework._report.figures.style import (
    PALETTE,
    WIDTH,
    canvas,
    headline,
    legend,
    measure,
    stay_possible,
    styled,
)
from framework._report.figures.variants import (
    FEWEST,
    Row,
    Sweep,
    driver,
    explained,
    finished,
    is_number,
    titled,
    told,
    variants,
    varying,
)
from framework._report.metrics import called
from framework._report.statistics import interval, mean
from framework._report.variants import Variant, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DECADES = 100  # a range from which on an axis is logarithmic
_TICKS = 8  # values that each have a tick of their own
_ASIDE = 4  # points from a mean to its trials


def plot_against(sweep: Sweep, x: str, metric: str | None = None) -> "Figure":
    """A metric against another one or a swept number: a point for each variant, its mean over the seeds.

    A bar is the 95 % interval of the mean (Student's t), from three seeds on; behind it the seeds, faint. Lines connect
    variants that differ only in the number by which ``x`` varies.

    Args:
        sweep: the results.
        x: ``sparsity``, ``frozen``, another metric, or a swept number such as ``prune.amount``.
        metric: its last value; None: the primary one, on the test set.

    Raises:
        DataError: no trial has one of them; names the nearest.
    """
    metric = metric or f"test/{sweep.primary}"
    trials = finished(sweep, metric)
    known = [*sweep.metrics, *(column for column in sweep.swept if is_number(trials, column))]
    if x not in known:
        raise DataError(f"there is nothing called {x!r} to draw against ({nearest(x, known)})")
    trials = trials[trials[x].notna()]
    found = variants(trials, sweep.swept)
    if not found:
        raise DataError(f"no trial that has {metric!r} has {x!r}")
    along = driver(trials, sweep.swept, x)
    apart = [column for column in varying(found, sweep.swept) if column != along]
    if len(_series(found, apart)) > len(PALETTE):
        apart = [column for column in apart if column == "experiment"]
    series = _series(found, apart)
    with styled():
        figure, [axes] = canvas(WIDTH, 3.3, top=0.45, left=0.78)
        headline(figure, f"{titled(found)}:  {called(metric)} against {called(x)}", explained(found, metric))
        for index, (label, members) in enumerate(series.items()):
            connected = along is not None and {*varying(members, sweep.swept)} <= {along}
            _draw(axes, members, x, metric, PALETTE[index % len(PALETTE)], label if apart else "", connected)
        measure(axes.xaxis, x)
        measure(axes.yaxis, metric)
        stay_possible(axes, metric)
        if x in sweep.swept:
            _scale(axes, sorted({value for variant in found for value in numbers(variant.trials, x)}))
        axes.grid(axis="y")
        if len(series) <= len(PALETTE):
            legend(axes, ", ".join(apart))
    return figure


def _series(found: Sequence[Variant[Row]], apart: Sequence[str]) -> dict[str, list[Variant[Row]]]:
    """The variants that differ in none of these columns, by what they have in common."""
    series: dict[str, list[Variant[Row]]] = {}
    for variant in found:
        series.setdefault(told(variant, apart), []).append(variant)
    return series


def _draw(
    axes: "Axes", members: Sequence[Variant[Row]], x: str, metric: str, color: str, label: str, connected: bool
) -> None:
    from matplotlib.transforms import ScaledTranslation

    beside = axes.transData + ScaledTranslation(_ASIDE / 72, 0, axes.figure.dpi_scale_trans)
    places = []
    for variant in members:
        xs, ys = (numbers(variant.trials, name) for name in (x, metric))
        axes.plot(xs, ys, "o", ms=3, color=color, alpha=0.4, mew=0, zorder=2, transform=beside)
        place = mean(xs), mean(ys)
        places.append(place)
        if len(ys) >= FEWEST and (bounds := interval(ys)):
            axes.plot([place[0]] * 2, bounds, "_-", color=color, lw=1, ms=5, zorder=2.5)
    style = "o-" if connected else "o"
    axes.plot(*zip(*sorted(places), strict=True), style, color=color, label=label or None, zorder=3)


def _scale(axes: "Axes", values: Sequence[float]) -> None:
    """Ticks at what was swept, if that is little; a logarithmic axis where it spans two decades and more."""
    if values[0] > 0 and values[-1] >= _DECADES * values[0]:
        axes.set_xscale("log")
    elif len(values) <= _TICKS:
        axes.set_xticks(values, [f"{value:.4g}" for value in values])
