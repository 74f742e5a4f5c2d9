"""How figures look: sizes as in a paper, in inches and points, and colours that the colour-blind tell apart."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from framework._report.metrics import called, is_fraction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

WIDTH, COLUMN = 6.3, 3.15  # of two columns of a paper, and of one
TITLE, TEXT, SMALL = 9, 8, 7  # points
LETTER = 0.059  # width of a letter of the smallest text, on average
LINE = 0.145  # height of a line of it
# Okabe and Ito's, without the yellow one, which is too pale for lines.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
# Of lines. Where colours do not suffice, each comes once more, dashed.
LINES: tuple[dict[str, Any], ...] = (
    *({"color": color, "ls": "-", "marker": "o"} for color in PALETTE),
    *({"color": color, "ls": (0, (4, 1.5)), "marker": "s"} for color in PALETTE),
)
INK, PALE, GRID = "#333333", "#BBBBBB", "#DDDDDD"
SHADES = ("#F1F3F5", "#FFFFFF")
_DPI = 160
_LEAST = 0.002  # that a panel shows of a fraction
MANY = 30  # points of a line that needs no markers
_Corner: TypeAlias = Literal["upper right", "lower right", "upper left", "lower left"]
_RC: Any = {
    "font.size": TEXT,
    "axes.titlesize": TITLE,
    "axes.labelsize": TEXT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.borderpad": 0.2,
    "legend.labelspacing": 0.3,
    "legend.handlelength": 1.6,
    # Text stays text, and the same figure is the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "framework",
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in this style; fonts are those that the user's matplotlib has."""
    import matplotlib

    with matplotlib.rc_context(_RC):
        yield


def canvas(
    width: float,
    height: float,
    rows: int = 1,
    *,
    left: float = 0.62,
    right: float = 0.2,
    top: float = 0.5,
    bottom: float = 0.42,
    gap: float = 0.1,
) -> "tuple[Figure, list[Axes]]":
    """An empty figure with panels below each other on one x axis; all sizes in inches."""
    figure = _figure_class()(figsize=(width, height), dpi=_DPI)
    panels = figure.subplots(rows, sharex=True, squeeze=False)[:, 0]
    each = (height - top - bottom - gap * (rows - 1)) / rows
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height, hspace=gap / each)
    return figure, list(panels)


def headline(figure: "Figure", text: str, below: str = "") -> None:
    """Say above all what is shown; what has no room is cut off."""
    width, height = figure.get_size_inches()
    figure.text(0.1 / width, 1 - 0.07 / height, _cut(text, width - 0.2, TITLE), va="top", fontsize=TITLE)
    figure.text(
        0.1 / width, 1 - 0.23 / height, _cut(below, width - 0.2, SMALL), va="top", fontsize=SMALL, color="#666666"
    )


def _cut(text: str, width: float, size: float) -> str:
    room = int(width / (LETTER * size / SMALL))
    return text if len(text) <= room else f"{text[: room - 1]}…"


def ending(name: str, longest: int) -> str:
    """The end of a name, such as a layer's, that is too long."""
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def ordered(count: int) -> list[Any]:
    """So many colours, from dark to light: for values that have an order."""
    import matplotlib

    return [matplotlib.colormaps["viridis"](0.85 * index / max(count - 1, 1)) for index in range(count)]


def measure(axis: "Axis", metric: str) -> None:
    """Name an axis after a metric, in per cent if it is a fraction."""
    from matplotlib.ticker import PercentFormatter

    axis.set_label_text(called(metric))
    if is_fraction(metric):
        axis.set_major_formatter(PercentFormatter(1.0))


def stay_possible(axes: "Axes", metric: str) -> None:
    """Show of a fraction what it can be, as intervals of means reach farther, and no noise as large as the panel."""
    if is_fraction(metric):
        low, high = axes.get_ylim()
        more = max(0.0, _LEAST - (high - low)) / 2
        axes.set_ylim(max(low - more, -0.02), min(high + more, 1.02))


def extent(axes: "Axes") -> tuple[float, float]:
    """Width and height of a panel, in inches."""
    box = axes.get_window_extent()
    dpi = axes.get_figure(root=True).dpi  # type: ignore[union-attr]
    return box.width / dpi, box.height / dpi


def epochs(panels: "Sequence[Axes]", last: float) -> None:
    """Make the x axis of panels that of the epochs."""
    from matplotlib.ticker import MaxNLocator

    margin = max(0.02 * last, 0.05)
    panels[-1].set_xlabel("epoch")
    panels[-1].set_xlim(-margin, max(last, 1) + margin)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def legend(axes: "Axes", title: str | None = None) -> None:
    """A legend in that corner where it covers least of the lines."""
    import numpy as np

    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        return
    wide, high = extent(axes)
    width = (max(map(len, [*labels, title or ""])) * LETTER + 0.4) / wide
    height = (len(labels) + bool(title)) * LINE / high
    to_axes = axes.transScale + axes.transLimits
    covered: dict[_Corner, int] = {"upper right": 0, "lower right": 0, "upper left": 0, "lower left": 0}
    for line in axes.lines:
        points = to_axes.transform(np.asarray(line.get_xydata()))
        if not line.get_transform().contains_branch(axes.transData) or not len(points):
            continue
        steps = np.linspace(0, len(points) - 1, 8 * len(points))
        x, y = (np.interp(steps, range(len(points)), points[:, side]) for side in (0, 1))
        for corner in covered:
            inside_x = x > 1 - width if "right" in corner else x < width
            inside_y = y > 1 - height if "upper" in corner else y < height
            covered[corner] += int((inside_x & inside_y).sum())
    # Among equals the first.
    axes.legend(title=title, loc=min(covered, key=covered.__getitem__)).set_zorder(4)


@cache
def _figure_class() -> "type[Figure]":
    from matplotlib.figure import Figure

    class Shown(Figure):
        """A figure that notebooks show without pyplot."""

        def _repr_png_(self) -> bytes:
            file = io.BytesIO()
            with styled():
                self.savefig(file, format="png")
            return file.getvalue()

    return Shown
