"""Stages on an epoch axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from framework._report.figures.style import INK, LETTER, SHADES, SMALL, extent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOM = 0.36  # inches above the first panel, for the names


@dataclass(frozen=True)
class Span:
    """A stage on the epoch axis; one that trains nothing starts where it ends."""

    label: str
    start: int
    end: int


def mark_stages(panels: "Sequence[Axes]", spans: Sequence[Span]) -> None:
    """Shade stages that train, draw the others as lines, and name all above the first panel, where there is room."""
    top = panels[0]
    left, right = top.get_xlim()
    wide, high = extent(top)
    letter = LETTER * (right - left) / wide  # in epochs
    trained = [span for span in spans if span.end > span.start]
    for index, span in enumerate(trained):
        for axes in panels:
            axes.axvspan(span.start, span.end, color=SHADES[index % 2], zorder=0, lw=0)
        if len(span.label) * letter < span.end - span.start:
            _name(top, (span.start + span.end) / 2, span.label, 1 + 0.03 / high)
    at_epoch: dict[int, list[str]] = {}
    for span in spans:
        if span.end == span.start:
            at_epoch.setdefault(span.end, []).append(span.label)
    taken = left
    for epoch, labels in at_epoch.items():
        for axes in panels:
            axes.axvline(epoch, color=INK, lw=0.7, ls=(0, (4, 2)), zorder=1)
        label = ", ".join(labels)
        half = len(label) * letter / 2
        centre = min(max(epoch, left + half), right - half)
        if centre - half >= taken:
            above = [1, 1 + 0.19 / high]
            top.plot([epoch, epoch], above, color=INK, lw=0.7, transform=top.get_xaxis_transform(), clip_on=False)
            _name(top, centre, label, 1 + 0.2 / high)
            taken = centre + half


def _name(axes: "Axes", epoch: float, label: str, height: float) -> None:
    axes.text(epoch, height, label, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=SMALL)
