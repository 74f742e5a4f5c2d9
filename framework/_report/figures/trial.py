"""The figures of a trial."""

from typing import TYPE_CHECKING

from framework._report.figures.confusion import confusion
from framework._report.figures.curves import curves
from framework._report.figures.data import FigureData
from framework._report.figures.layers import layers
from framework._report.figures.style import styled
from framework._report.figures.weights import weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("curves", "layers", "weights", "confusion")


def trial_figures(trial: FigureData) -> "dict[str, Figure]":
    """The figures of a trial that there is something to show in.

    Returns:
        Of ``curves`` (loss, primary metric and sparsity over the epochs), ``layers`` (sparsity by layer), ``weights``
        (histograms before and after pruning) and ``confusion`` (true and predicted classes of the test set).
    """
    if not trial.records:
        return {}
    with styled():
        made = {
            "curves": curves(trial),
            "layers": layers(trial),
            "weights": weights(trial),
            "confusion": confusion(trial),
        }
    return {name: figure for name, figure in made.items() if figure is not None}
