"""What a trial's network takes for what."""

import json
from typing import TYPE_CHECKING, Any

from framework._report.figures.data import CONFUSION, FigureData
from framework._report.figures.style import LETTER, LINE, SMALL, WIDTH, canvas, headline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL, _SMALLEST = 0.31, 3.15  # inches
_RASTER = 30  # classes from which on the cells are no longer single shapes
_LONGEST = 16  # letters of a class's name


def confusion(trial: FigureData) -> "Figure | None":
    """Of the test images of each class (a row), the share that was taken for each class; None if not measured."""
    import numpy as np

    found = json.loads(trial.files.get(CONFUSION, b"{}"))
    if not found:
        return None
    counts = np.array(found["counts"])
    names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in found["classes"]]
    longest = LETTER * max(map(len, names)) + 0.3
    frame = longest + 0.12
    side = min(max(_CELL * len(names), _SMALLEST - frame), WIDTH - frame)
    upright = max(map(len, names)) * LETTER < side / len(names) - 0.05
    below = LINE + 0.3 if upright else longest
    figure, [axes] = canvas(side + frame, side + 0.45 + below, left=longest, right=0.12, top=0.45, bottom=below)
    right = np.trace(counts) / counts.sum()
    headline(figure, trial.title, f"{right:.2%} of {counts.sum():,} test images are right")
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.pcolormesh(share, cmap="Blues", vmin=0, vmax=1, rasterized=len(names) > _RASTER)
    axes.set(xlabel="predicted class", ylabel="true class", xlim=(0, len(names)), ylim=(len(names), 0))
    axes.spines[:].set_visible(True)
    axes.tick_params(length=0)
    every = max(1, int(-(-LINE * len(names) // side)))
    shown = range(0, len(names), every)
    places = [index + 0.5 for index in shown]
    axes.set_yticks(places, [names[index] for index in shown])
    axes.set_xticks(places, [names[index] for index in shown], rotation=0 if upright else 90)
    _write(axes, counts, share, side / len(names))
    return figure


def _write(axes: "Axes", counts: Any, share: Any, cell: float) -> None:
    """Write the counts that are not 0 into their cells, if all find room."""
    if LETTER * 1.15 * len(str(counts.max())) > cell or cell < LINE:
        return
    for row, column in zip(*counts.nonzero(), strict=True):
        color = "white" if share[row, column] > 0.5 else "black"
        place = column + 0.5, row + 0.52
        axes.text(*place, str(counts[row, column]), ha="center", va="center", fontsize=SMALL, color=color)
