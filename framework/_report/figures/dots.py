"""Variants side by side."""

from typing import TYPE_CHECKING

from framework._report.excerpt import excerpt
from framework._report.figures.style import BLUE, LETTER, WIDTH, canvas, headline, measure, styled
from framework._report.figures.variants import (
    FEWEST,
    Sweep,
    brief,
    explained,
    finished,
    titled,
    told,
    variants,
    varying,
)
from framework._report.metrics import called
from framework._report.statistics import interval, mean
from framework._report.variants import numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 30  # variants that find room
_ROW = 0.2  # inches
_LONGEST = 40  # letters of a variant
_ASIDE = 3.5  # points from a mean to its trials


def plot_variants(sweep: Sweep, metric: str | None = None) -> "Figure":
    """A metric of each variant, side by side: its mean over the seeds, with its 95 % interval from three seeds on.

    Of more than 30 variants there are those with the highest means and those with the lowest.

    Args:
        sweep: the results.
        metric: its last value; None: the primary one, on the test set.

    Raises:
        DataError: no trial has it; names the nearest metric.
    """
    from matplotlib.transforms import ScaledTranslation

    metric = metric or f"test/{sweep.primary}"
    trials = finished(sweep, metric)
    found = variants(trials, sweep.swept)
    part = excerpt(found, _MOST, lambda variant: mean(numbers(variant.trials, metric)))
    which = f"; the {_MOST // 2} highest and lowest of {len(found):,} variants" if part.left_out else ""
    found = [*part.shown]
    columns = varying(found, sweep.swept)
    labels = [told(variant, columns, brief(columns)) for variant in found]
    if max(map(len, labels)) > _LONGEST:
        labels = [_cut(told(variant, columns)) for variant in found]
    with styled():
        left = 0.2 + LETTER * max(map(len, labels))
        figure, [axes] = canvas(WIDTH, 0.95 + _ROW * len(found), left=left, top=0.45)
        headline(figure, f"{titled(found)}:  {called(metric)} by variant", explained(found, metric) + which)
        below = axes.transData + ScaledTranslation(0, -_ASIDE / 72, figure.dpi_scale_trans)
        for row, variant in enumerate(found):
            values = numbers(variant.trials, metric)
            axes.plot(values, [row] * len(values), "o", ms=3, color=BLUE, alpha=0.4, mew=0, transform=below)
            if len(values) >= FEWEST and (bounds := interval(values)):
                axes.plot(bounds, [row, row], "|-", color=BLUE, lw=1, ms=5)
            axes.plot([mean(values)], [row], "o", color=BLUE)
        measure(axes.xaxis, metric)
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.grid(axis="both")
    return figure


def _cut(label: str) -> str:
    half = _LONGEST // 2  # what sets variants apart may stand at either end
    return label if len(label) <= _LONGEST else f"{label[:half]}…{label[1 - half :]}"
