"""Figures, without pyplot: trials may run in threads."""

from collections.abc import Mapping, Sequence
from io import BytesIO

from matplotlib.figure import Figure
from pandas import DataFrame
from torch import Tensor

from framework import Record


def histogram(weights: Tensor, stage: str) -> bytes:
    """How large the weights are that are not zero.

    Args:
        weights: of all layers, (N,), on the CPU.
        stage: what they have just been through.
    """
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    axes.hist(weights[weights != 0].float().numpy(), bins=80)
    axes.set(title=f"after {stage}: {(weights == 0).float().mean():.1%} zeros", xlabel="weight", ylabel="how many")
    return _png(figure)


def norms_over_epochs(records: Sequence[Record]) -> bytes:
    """The norm of each layer, as it was reported."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(name for record in records for name in record.metrics if name.startswith("norm/")):
        points = [(record.epoch, record.metrics[name]) for record in records if name in record.metrics]
        axes.plot(*zip(*points, strict=True), label=name.removeprefix("norm/"))
    axes.set(xlabel="epoch", ylabel="norm")
    figure.legend(loc="outside right upper")
    return _png(figure)


def distances_over_epochs(histories: Mapping[str, DataFrame]) -> Figure:
    """The mean over the seeds, a panel for each layer and a line for each variant.

    Args:
        histories: by metric, all that was reported of it: columns ``variant``, ``epoch`` and ``value``.
    """
    figure = Figure(figsize=(6.3, 0.6 + 1.2 * len(histories)), layout="constrained")
    panels = figure.subplots(len(histories), sharex=True, squeeze=False)[:, 0]
    for axes, (metric, values) in zip(panels, histories.items(), strict=True):
        for variant, group in values.groupby("variant", sort=False):
            means = group.groupby("epoch")["value"].mean()
            axes.plot(means.index, means, label=variant or "all")
        axes.set_ylabel(metric.removeprefix("distance/"))
    panels[0].legend()
    panels[-1].set_xlabel("epoch")
    return figure


def _png(figure: Figure) -> bytes:
    content = BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
