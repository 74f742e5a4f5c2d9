"""A metric against another one, or against a number that was swept."""

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

from framework._errors import DataError, nearest
from framework._report.figures import remaining
from framework._report.figures.remaining import REMAINING
from framework._report.figures.style import (
    LETTER,
    LINES,
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
    drivers,
    explained,
    finished,
    is_number,
    titled,
    told,
    variants,
    varying,
)
from framework._report.metrics import called
from framework._report.statistics import interval, mean, without_outliers
from framework._report.variants import Variant, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DECADES = 100  # a range from which on an axis is logarithmic
_TICKS = 8  # values that each have a tick of their own
_ASIDE = 4  # points from a mean to its trials
_CROWD = 300  # points that hide each other, and all else that is drawn
_APART = 1.2  # points from one of many lines to the next


def plot_against(sweep: Sweep, x: str, metric: str | None = None) -> "Figure":
    """A metric against another one or a swept number: a point for each variant, its mean over the seeds.

    A bar is the 95 % interval of the mean (Student's t), from three seeds on; behind it the seeds, faint, unless there
    are many lines. Lines connect variants that differ only in the number by which ``x`` varies. Of hundreds of variants
    there are the points alone.

    Args:
        sweep: the results.
        x: ``sparsity``, ``frozen``, another metric, a swept number such as ``prune.amount``; or ``remaining``, the
            fraction of weights that are not 0, on a logarithmic axis. There, variants that are not pruned are a dashed
            line with a band, and those without any weight are left out.
        metric: its last value; None: the primary one, on the test set.

    Raises:
        DataError: no trial has one of them; names the nearest.
    """
    metric = metric or f"test/{sweep.primary}"
    found, dense, along = _selected(sweep, x, metric)
    apart = [column for column in varying(found, sweep.swept) if column not in along]
    if len(_series(found, apart)) > len(LINES):
        apart = [column for column in apart if column == "experiment"]
    series, title = _series(found, apart), ", ".join(apart)
    crowded = len(found) > _CROWD
    few, named = len(series) <= len(PALETTE), len(series) <= len(LINES)
    beside = LETTER * max(map(len, (*series, title))) + 0.5 if apart and named and (crowded or not few) else 0.0
    bottom = 0.54 if x == REMAINING else 0.42
    means = [mean(numbers(variant.trials, metric)) for variant in (*dense, *found)]
    near = without_outliers(means)
    outside = f"; {len(means) - len(near)} far off are not shown" if len(near) < len(means) else ""
    with styled():
        figure, [axes] = canvas(WIDTH, 3.3, top=0.45, left=0.78, right=0.2 + beside, bottom=bottom)
        heading = f"{titled([*dense, *found])}:  {called(metric)} against {called(x)}"
        how = f"a point for each of {len(found):,} variants" if crowded else explained(found, metric, each=few)
        headline(figure, heading, how + outside)
        for number, ((label, members), look) in enumerate(zip(series.items(), cycle(LINES), strict=False)):
            # Many lines stand beside each other, so that their intervals can be told apart.
            shift = 0.0 if few else _APART * (number - (len(series) - 1) / 2)
            style = {**look, "label": label if apart else None}
            if crowded or not along or {*varying(members, sweep.swept)} - along:
                style["ls"] = ""
            if crowded:
                style |= {"ms": 2, "alpha": 0.6, "mew": 0}
            _draw(axes, members, x, metric, style, each=few and not crowded, spread=not crowded, shift=shift)
        measure(axes.yaxis, metric)
        if x == REMAINING:
            remaining.scale(axes, [mean(numbers(variant.trials, x)) for variant in found])
            colors = {label: look["color"] for label, look in zip(series, cycle(LINES), strict=False)}
            remaining.draw_dense(axes, dense, metric, apart, colors)
        else:
            measure(axes.xaxis, x)
        if outside:  # one that has collapsed would hide what tells the others apart
            margin = 0.05 * (max(near) - min(near))
            axes.set_ylim(min(near) - margin, max(near) + margin)
        stay_possible(axes, metric)
        if x in sweep.swept:
            _scale(axes, sorted({value for variant in found for value in numbers(variant.trials, x)}))
        axes.grid(axis="y")
        if beside:
            axes.legend(
                title=title, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, markerscale=3 if crowded else 1
            )
        elif named:
            legend(axes, title)
    return figure


def _selected(sweep: Sweep, x: str, metric: str) -> tuple[list[Variant[Row]], list[Variant[Row]], set[str]]:
    """The variants, apart from them those that are not pruned where that is a baseline, and what x varies by."""
    trials = finished(sweep, metric)
    if x == REMAINING and "sparsity" in trials:
        trials = trials.assign(remaining=1 - trials["sparsity"]).query("remaining > 0")
    known = [*trials.columns.intersection([REMAINING]), *sweep.metrics]
    known += [column for column in sweep.swept if is_number(trials, column)]
    if x not in known:
        raise DataError(f"there is nothing called {x!r} to draw against ({nearest(x, known)})")
    found = variants(trials[trials[x].notna()], sweep.swept)
    dense = [variant for variant in found if x == REMAINING and remaining.is_dense(variant)]
    pruned = [variant for variant in found if x != REMAINING or not remaining.is_dense(variant)]
    if not pruned:
        raise DataError(f"no trial that has {metric!r} {'is pruned' if dense else f'has {x!r}'}")
    return pruned, dense, drivers(trials, sweep.swept, x)


def _series(found: Sequence[Variant[Row]], apart: Sequence[str]) -> dict[str, list[Variant[Row]]]:
    """The variants that differ in none of these columns, by what they have in common."""
    series: dict[str, list[Variant[Row]]] = {}
    for variant in found:
        series.setdefault(told(variant, apart), []).append(variant)
    return series


def _draw(
    axes: "Axes",
    members: Sequence[Variant[Row]],
    x: str,
    metric: str,
    style: dict[str, Any],
    *,
    each: bool,
    spread: bool,
    shift: float,
) -> None:
    from matplotlib.transforms import ScaledTranslation

    def moved(points: float) -> Any:
        return axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)

    here, beside = moved(shift) if shift else axes.transData, moved(_ASIDE)
    places, color = [], style["color"]
    for variant in members:
        xs, ys = (numbers(variant.trials, name) for name in (x, metric))
        if each:
            axes.plot(xs, ys, "o", ms=3, color=color, alpha=0.4, mew=0, zorder=2, transform=beside)
        place = mean(xs), mean(ys)
        places.append(place)
        if spread and len(ys) >= FEWEST and (bounds := interval(ys)):
            axes.plot([place[0]] * 2, bounds, "_-", color=color, lw=1, ms=5, zorder=2.5, transform=here)
    axes.plot(*zip(*sorted(places), strict=True), zorder=3, transform=here, **style)


def _scale(axes: "Axes", values: Sequence[float]) -> None:
    """Ticks at what was swept, if that is little; a logarithmic axis where it spans two decades and more."""
    if values[0] > 0 and values[-1] >= _DECADES * values[0]:
        axes.set_xscale("log")
    elif len(values) <= _TICKS:
        axes.set_xticks(values, [f"{value:.4g}" for value in values])
