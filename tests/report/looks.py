"""What a reader needs of any figure."""

import io
from collections.abc import Iterator
from itertools import combinations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from framework._report.figures.style import styled

SMALLEST = 7  # points


def check_legible(figure: Figure) -> None:
    """No text is smaller than 7 points at the width of a page, runs out of the figure, or over another one."""
    drawn(figure)
    width, height = figure.get_size_inches()
    assert width <= 6.3
    assert height <= 9
    shown = [text for text in texts(figure) if text.get_visible() and text.get_text().strip()]
    assert shown
    boxes = [text.get_window_extent() for text in shown]
    for text, box in zip(shown, boxes, strict=True):
        assert text.get_fontsize() >= SMALLEST, text
        assert min(box.x0, box.y0) >= -1, text
        assert box.x1 <= figure.bbox.x1 + 1, text
        assert box.y1 <= figure.bbox.y1 + 1, text
    for (one, a), (other, b) in combinations(zip(shown, boxes, strict=True), 2):
        found = Bbox.intersection(a, b)
        assert found is None or min(found.width, found.height) <= 1, (one, other)


def texts(figure: Figure) -> Iterator[Text]:
    """All that is drawn: of ticks only those within the axes."""
    yield from figure.texts
    for legend in figure.legends:
        yield from legend.get_texts()
    for axes in figure.axes:
        yield from axes.texts
        yield from ticks(axes)
        yield from (axes.xaxis.label, axes.yaxis.label)
        if legend := axes.get_legend():
            yield from (legend.get_title(), *legend.get_texts())


def ticks(axes: Axes) -> Iterator[Text]:
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if low <= tick.get_loc() <= high:
                yield tick.label1


def drawn(figure: Figure) -> bytes:
    """As a PNG file, which also lays it out."""
    file = io.BytesIO()
    with styled():
        figure.savefig(file, format="png")
    return file.getvalue()
