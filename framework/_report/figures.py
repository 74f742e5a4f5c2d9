"""Figures of trials."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from framework._plan import TrialPlan, short
from framework._stage import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart.
_TRAIN, _VALIDATION, _TEST, _FROZEN = "#0072B2", "#D55E00", "#000000", "#56B4E9"
_LAYERS, _ALL_WEIGHTS = "#BBBBBB", "#009E73"
_SHADES = ("#F1F3F5", "#FFFFFF")
_INK = "#333333"
_GAP = (math.nan, math.nan)
_WIDTH, _HEIGHT = 8.0, 7.0  # inches
_LEFT, _RIGHT = 0.1, 0.98
_LETTER = 0.075  # a letter's width in the labels, inches


@dataclass(frozen=True)
class _Span:
    """A stage on the epoch axis; one that trains nothing starts where it ends."""

    label: str
    start: int
    end: int


def trial_figure(plan: TrialPlan, records: Sequence[Record]) -> "Figure":
    """A trial's loss, accuracy and sparsity over its epochs, with its stages marked.

    Args:
        plan: the trial.
        records: what it reported, in order.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=100)
    loss, accuracy, sparsity = figure.subplots(3, sharex=True)
    figure.subplots_adjust(left=_LEFT, right=_RIGHT, top=0.88, bottom=0.07, hspace=0.09)
    figure.suptitle(f"{plan.experiment}   {plan.name}", x=_LEFT, y=0.985, ha="left", fontsize=11, color=_INK)
    _draw_losses(loss, records)
    _draw_accuracies(accuracy, records)
    _draw_sparsities(sparsity, records)
    sparsity.set_xlabel("epoch")
    last = max((record.epoch for record in records), default=0)
    margin = max(0.02 * last, 0.05)
    sparsity.set_xlim(-margin, max(last, 1) + margin)
    sparsity.xaxis.get_major_locator().set_params(integer=True)
    _mark_stages((loss, accuracy, sparsity), list(_spans(plan, records)))
    for axes, place in ((loss, "upper right"), (accuracy, "lower right"), (sparsity, "upper left")):
        axes.yaxis.set_label_coords(-0.075, 0.5)
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=True, framealpha=0.85, edgecolor="none", fontsize=8, loc=place)
    return figure


def as_png(figure: "Figure") -> bytes:
    """A figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def _draw_losses(axes: "Axes", records: Sequence[Record]) -> None:
    axes.set_ylabel("loss")
    _line(axes, records, "train/loss", "train", _TRAIN)
    _line(axes, records, "val/loss", "validation", _VALIDATION)
    _points(axes, records, "test/loss", "{:.3g}")


def _draw_accuracies(axes: "Axes", records: Sequence[Record]) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.set_ylabel("accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    _line(axes, records, "train/accuracy", "train", _TRAIN)
    _line(axes, records, "val/accuracy", "validation", _VALIDATION)
    _points(axes, records, "test/accuracy", "{:.2%}")


def _draw_sparsities(axes: "Axes", records: Sequence[Record]) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.set_ylabel("sparsity")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    layers = sorted({name for record in records for name in record.metrics if name.startswith("sparsity/")})
    if layers:
        # One line with gaps: a line each would take as long to draw as all the rest.
        epochs, values = zip(*(point for layer in layers for point in (*_series(records, layer), _GAP)), strict=True)
        axes.plot(epochs, values, color=_LAYERS, lw=0.7, label="each layer")
    if any(record.metrics.get("frozen") for record in records):
        _line(axes, records, "frozen", "frozen", _FROZEN, style="--")
    _line(axes, records, "sparsity", "all weights", _ALL_WEIGHTS, width=2.0)
    axes.set_ylim(bottom=-0.02 * axes.get_ylim()[1])


def _line(
    axes: "Axes",
    records: Sequence[Record],
    name: str,
    label: str,
    color: str,
    width: float = 1.5,
    style: str = "-",
) -> None:
    """A metric in the order of its records: two values at one epoch are a vertical jump."""
    points = _series(records, name)
    if points:
        marker = "o" if len(points) < 30 else ""  # a lone value is a line of no length
        axes.plot(*zip(*points, strict=True), style, marker=marker, ms=3, color=color, lw=width, label=label)


def _points(axes: "Axes", records: Sequence[Record], name: str, template: str) -> None:
    points = _series(records, name)
    if points:
        label = "test: " + ", ".join(template.format(value) for _, value in points)
        axes.plot(*zip(*points, strict=True), "D", ms=6, color=_TEST, label=label, zorder=3, clip_on=False)


def _series(records: Sequence[Record], name: str) -> list[tuple[float, float]]:
    return [(record.epoch, record.metrics[name]) for record in records if name in record.metrics]


def _spans(plan: TrialPlan, records: Sequence[Record]) -> Iterator[_Span]:
    end = 0
    for index, stage in enumerate(plan.stages):
        epochs = [record.epoch for record in records if record.stage == index]
        if epochs:
            start, end = end, max(epochs)
            swept = [
                f"{name.rpartition('.')[2]}={short(value)}"
                for name, value in plan.swept.items()
                if name.startswith(f"{stage['name']}.")
            ]
            yield _Span(" ".join([stage["name"], *swept]), start, end)


def _mark_stages(panels: "Sequence[Axes]", spans: Sequence[_Span]) -> None:
    """Shade stages that train, draw the others as lines, and name all above the first panel, where there is room."""
    top = panels[0]
    left, right = top.get_xlim()
    inch = (right - left) / (_WIDTH * (_RIGHT - _LEFT))  # in epochs
    trained = [span for span in spans if span.end > span.start]
    for index, span in enumerate(trained):
        for axes in panels:
            axes.axvspan(span.start, span.end, color=_SHADES[index % 2], zorder=0, lw=0)
        if len(span.label) * _LETTER * inch < span.end - span.start:
            _name(top, (span.start + span.end) / 2, span.label, 1.02)
    at_epoch: dict[int, list[str]] = {}
    for span in spans:
        if span.end == span.start:
            at_epoch.setdefault(span.end, []).append(span.label)
    taken = left
    for epoch, labels in at_epoch.items():
        for axes in panels:
            axes.axvline(epoch, color=_INK, lw=0.9, ls=(0, (4, 2)), zorder=1)
        label = ", ".join(labels)
        half = len(label) * _LETTER * inch / 2
        centre = min(max(epoch, left + half), right - half)
        if centre - half >= taken:
            top.plot([epoch, epoch], [1, 1.11], color=_INK, lw=0.9, transform=top.get_xaxis_transform(), clip_on=False)
            _name(top, centre, label, 1.13)
            taken = centre + half


def _name(axes: "Axes", epoch: float, label: str, height: float) -> None:
    axes.text(
        epoch, height, label, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=8.5, color=_INK
    )
