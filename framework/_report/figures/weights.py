"""How a trial's weights are spread, before it was pruned and after."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from framework._report.figures.data import WEIGHTS, FigureData
from framework._report.figures.style import BLUE, PALE, VERMILLION, WIDTH, canvas, headline, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def weights(trial: FigureData) -> "Figure | None":
    """A histogram of all prunable weights before the first stage that has set some to zero, after it, and at the end.

    Without such a stage: at the start and at the end. None if there is nothing to show.
    """
    states = [state for state in json.loads(trial.files.get(WEIGHTS, b"[]")) if state["counts"]]
    if not states:
        return None
    figure, [axes] = canvas(WIDTH, 2.6, top=0.35)
    headline(figure, trial.title)
    chosen = _chosen(states)
    for (label, state), color, width in zip(chosen.items(), (PALE, BLUE, VERMILLION), (2.4, 1.2, 1.2), strict=False):
        counts, limit = state["counts"], state["limit"]
        total = state["zeros"] + state["beyond"] + sum(counts)
        step = 2 * limit / len(counts)
        centres = [-limit + step * (index + 0.5) for index in range(len(counts))]
        shares = [count / total / step for count in counts]
        name = f"{label}: {state['zeros'] / total:.1%} zeros"
        axes.plot(centres, shares, drawstyle="steps-mid", color=color, lw=width, label=name)
    axes.set_xlabel("weight that is not zero")
    axes.set_ylabel("density of all weights")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    legend(axes)
    return figure


def _chosen(states: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The states to show, by what to call them."""
    for before, after in pairwise(states):
        if after["zeros"] > before["zeros"]:
            named = {f"before {after['name']}": before, f"after {after['name']}": after}
            return named | ({"at the end": states[-1]} if after is not states[-1] else {})
    return {"at the start": states[0], "at the end": states[-1]}
