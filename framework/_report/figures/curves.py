"""A trial's course: what it learned, and how sparse it was."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from framework._report.figures.data import FigureData
from framework._report.figures.stages import ROOM, mark_stages
from framework._report.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    MANY,
    PALE,
    SKY,
    VERMILLION,
    WIDTH,
    canvas,
    epochs,
    headline,
    legend,
    measure,
)
from framework._report.metrics import is_fraction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT = 5.0
_GAP = (math.nan, math.nan)


def curves(trial: FigureData) -> "Figure":
    """A trial's loss, primary metric and sparsity over its epochs, with its stages marked."""
    figure, panels = canvas(WIDTH, _HEIGHT, 3, top=0.3 + ROOM)
    loss, primary, sparsity = panels
    headline(figure, trial.title)
    _learning(loss, trial, "loss")
    _learning(primary, trial, trial.primary)
    _sparsity(sparsity, trial)
    epochs(panels, max((epoch for epoch, _, _ in trial.records), default=0))
    for axes in panels:
        axes.yaxis.set_label_coords(-0.085, 0.5)
        axes.grid(axis="y")
        legend(axes)
    mark_stages(panels, trial.spans)
    return figure


def _learning(axes: "Axes", trial: FigureData, what: str) -> None:
    measure(axes.yaxis, what)
    _line(axes, trial.series(f"train/{what}"), "train", BLUE)
    _line(axes, trial.series(f"val/{what}"), "validation", VERMILLION)
    if tested := trial.series(f"test/{what}"):
        form = ".2%" if is_fraction(what) else ".3g"
        label = "test: " + ", ".join(f"{value:{form}}" for _, value in tested)
        axes.plot(*zip(*tested, strict=True), "D", ms=5, color=BLACK, label=label, zorder=3, clip_on=False)


def _sparsity(axes: "Axes", trial: FigureData) -> None:
    measure(axes.yaxis, "sparsity")
    if trial.layers:
        # One line with gaps: a line each would take as long to draw as all the rest.
        points = [point for layer in trial.layers for point in (*trial.series(f"sparsity/{layer}"), _GAP)]
        axes.plot(*zip(*points, strict=True), color=PALE, lw=0.6, label="each layer")
    frozen = trial.series("frozen")
    if any(value for _, value in frozen):
        _line(axes, frozen, "frozen", SKY, "--")
    _line(axes, trial.series("sparsity"), "all weights", GREEN, width=1.8)
    top = max(axes.get_ylim()[1], 0.01)
    axes.set_ylim(-0.02 * top, top)


def _line(
    axes: "Axes",
    points: Sequence[tuple[float, float]],
    label: str,
    color: str,
    style: str = "-",
    width: float = 1.3,
) -> None:
    """Values in the order of their records: two of them at one epoch are a vertical jump."""
    if points:
        marker = "o" if len(points) < MANY else ""  # a lone value is a line of no length
        axes.plot(*zip(*points, strict=True), style, marker=marker, ms=2.5, color=color, lw=width, label=label)
