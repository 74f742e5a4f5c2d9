"""Metrics of a sweep over the epochs."""

from collections.abc import Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING, Any

from framework._errors import DataError
from framework._report.figures.stages import ROOM, Span, mark_stages
from framework._report.figures.style import (
    LETTER,
    LINE,
    MANY,
    PALETTE,
    SMALL,
    WIDTH,
    canvas,
    epochs,
    headline,
    measure,
    ordered,
    stay_possible,
    styled,
)
from framework._report.figures.variants import FEWEST, Row, Sweep, is_number, titled, told, variants, varying
from framework._report.metrics import called
from framework._report.statistics import interval, mean
from framework._report.variants import EXPERIMENT, Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

MOST = len(PALETTE)  # variants that can be told apart
_PANEL = 1.75  # inches


def plot_history(sweep: Sweep, metrics: Sequence[str] = ()) -> "Figure":
    """Metrics over the epochs, a panel each: a line for each variant, the mean over its seeds, with stages marked.

    A band is the 95 % interval of the mean (Student's t), from three seeds on. Stages are marked where all trials have
    them at the same epochs.

    Args:
        sweep: the results; of no more than seven variants.
        metrics: the panels, from top to bottom; none: the primary one, on the validation set, and the sparsity.

    Raises:
        DataError: no trial has reported one of them, or there are too many variants.
    """
    return draw_history(sweep, {name: sweep.history(name) for name in metrics or (f"val/{sweep.primary}", "sparsity")})


def shown(sweep: Sweep) -> list[Variant[Row]]:
    """The variants with curves: of trials that a scheduler has stopped too."""
    trials = sweep.frame()
    return variants(trials[trials["status"] == "FINISHED"], sweep.swept)


def draw_history(sweep: Sweep, histories: "Mapping[str, DataFrame]") -> "Figure":
    """The same of histories that have been read, by metric."""
    found = shown(sweep)
    if not 0 < len(found) <= MOST:
        raise DataError(f"{len(found)} variants have finished: curves of 1 to {MOST} can be told apart")
    histories = {metric: _known(history, found) for metric, history in histories.items()}
    columns = varying(found, sweep.swept)
    numbered = len(columns) == 1 and columns[0] != EXPERIMENT and is_number(sweep.frame(), columns[0])
    colors = ordered(len(found)) if numbered else PALETTE
    labels = [told(variant, columns) for variant in found]
    rows = _rows(labels, columns)
    spans = _spans(sweep, list(histories.values())[-1])
    top = 0.27 + LINE * rows + (ROOM if spans else 0.1)
    with styled():
        figure, panels = canvas(WIDTH, top + _PANEL * len(histories) + 0.42, len(histories), top=top)
        headline(figure, f"{titled(found)}:  {' and '.join(map(called, histories))} over the epochs")
        for (metric, history), axes in zip(histories.items(), panels, strict=True):
            for variant, color in zip(found, colors, strict=False):
                _draw(axes, history[history["run_id"].isin([trial.run_id for trial in variant.trials])], color)
            measure(axes.yaxis, metric)
            stay_possible(axes, metric)
            axes.yaxis.set_label_coords(-0.085, 0.5)
            axes.grid(axis="y")
        epochs(panels, max(float(history["epoch"].max()) for history in histories.values()))
        if rows:
            _key(figure, panels[0], columns, labels, rows)
        mark_stages(panels, spans)
    return figure


def _known(history: "DataFrame", found: Sequence[Variant[Row]]) -> "DataFrame":
    """Of these variants, with how many values of the trial stand before at the same place."""
    runs = [trial.run_id for variant in found for trial in variant.trials]
    history = history[history["run_id"].isin(runs)]
    return history.assign(again=history.groupby(["run_id", "stage", "epoch"]).cumcount())


def _draw(axes: "Axes", history: "DataFrame", color: Any) -> None:
    places = [(place[1], list(group)) for place, group in history.groupby(["stage", "epoch", "again"])["value"]]
    if not places:
        return
    at = [epoch for epoch, _ in places]
    marker = "o" if len(places) < MANY else ""
    axes.plot(at, [mean(values) for _, values in places], marker=marker, ms=2, color=color, lw=1.2)
    bands = [(interval(values) if len(values) >= FEWEST else None) or (nan, nan) for _, values in places]
    axes.fill_between(at, [low for low, _ in bands], [high for _, high in bands], color=color, alpha=0.2, lw=0)


def _rows(labels: Sequence[str], columns: Sequence[str]) -> int:
    """How many rows the key takes above the panels."""
    if not columns:
        return 0
    room = WIDTH - 1 - LETTER * len(", ".join(columns))
    return -(-len(labels) // max(1, int(room / (LETTER * max(map(len, labels)) + 0.45))))


def _key(figure: "Figure", axes: "Axes", columns: Sequence[str], labels: Sequence[str], rows: int) -> None:
    """Say above the panels which colour is which variant."""
    width, height = figure.get_size_inches()
    title = ", ".join(columns)
    figure.text(0.1 / width, 1 - 0.275 / height, title, va="top", fontsize=SMALL)
    figure.legend(
        axes.lines[: len(labels)],
        labels,
        loc="upper left",
        bbox_to_anchor=((0.2 + LETTER * len(title)) / width, 1 - 0.245 / height),
        ncols=-(-len(labels) // rows),
        borderaxespad=0,
        columnspacing=1.2,
    )


def _spans(sweep: Sweep, history: "DataFrame") -> list[Span]:
    """The stages, where all trials have the same ones at the same epochs."""
    ends = history.groupby(["run_id", "stage"])["epoch"].max()
    courses = {(tuple(sweep.stages(run)), tuple(ends[run].items())) for run in history["run_id"].unique()}
    if len(courses) != 1:
        return []
    [(names, found)] = courses
    starts = [0, *(end for _, end in found)]
    return [Span(names[stage], start, end) for (stage, end), start in zip(found, starts, strict=False)]
