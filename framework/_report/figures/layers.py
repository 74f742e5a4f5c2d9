"""How sparse each layer of a trial's network is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from framework._report.figures.data import FigureData
from framework._report.figures.style import (
    BLUE,
    LETTER,
    LINE,
    ORANGE,
    SKY,
    VERMILLION,
    WIDTH,
    canvas,
    ending,
    extent,
    headline,
    measure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST = 3  # states that can be told apart
_COLORS = {1: (BLUE,), 2: (SKY, VERMILLION), 3: (SKY, ORANGE, VERMILLION)}
_THICK = (0.82, 0.5, 0.2)
_ROW, _HIGHEST = 0.16, 8.5  # inches
_LONGEST = 28  # letters of a layer's name
_SAME = 1e-6


@dataclass(frozen=True)
class _State:
    """The sparsities after a stage, by layer and of all."""

    label: str
    layers: dict[str, float]
    all: float


def layers(trial: FigureData) -> "Figure | None":
    """Each layer's sparsity, in forward order, after those stages that have changed it; None if none has."""
    states = _states(trial)
    if not states:
        return None
    names = list(states[-1].layers)
    left = 0.2 + LETTER * max(len(ending(name, _LONGEST)) for name in names)
    height = min(0.9 + LINE + _ROW * len(names), _HIGHEST)
    figure, [axes] = canvas(WIDTH, height, left=left, top=0.45 + LINE)
    headline(figure, trial.title, "each layer in forward order; dashed: all layers together")
    for state, color, thick in zip(states, _COLORS[len(states)], _THICK, strict=False):
        axes.barh(range(len(names)), [state.layers[name] for name in names], thick, color=color, label=state.label)
        axes.axvline(state.all, color=color, lw=1, ls=(0, (3, 2)), zorder=0.5)
    measure(axes.xaxis, "sparsity")
    axes.set_xlim(0, min(1.0, 1.04 * max(value for state in states for value in state.layers.values())))
    _name_layers(axes, names)
    axes.grid(axis="x")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=_MOST, borderaxespad=0.2, borderpad=0, columnspacing=1.2)
    return figure


def _name_layers(axes: "Axes", names: Sequence[str]) -> None:
    """As many as find room, from the first one at the top."""
    _, room = extent(axes)
    every = -(-len(names) * LINE // room)
    shown = range(0, len(names), max(1, int(every)))
    axes.set_yticks(shown, [ending(names[index], _LONGEST) for index in shown])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _states(trial: FigureData) -> list[_State]:
    """After each stage that has changed a layer's sparsity; of many, the first, the last and one between."""
    found: list[_State] = []
    before = dict.fromkeys(trial.layers, 0.0)
    last = {stage: metrics for _, stage, metrics in trial.records if "sparsity" in metrics}
    for stage, metrics in last.items():
        layers = {name: metrics.get(f"sparsity/{name}", before[name]) for name in trial.layers}
        if any(abs(layers[name] - before[name]) > _SAME for name in layers):
            found.append(
                _State(f"{_after(trial.stages, stage)}: {metrics['sparsity']:.1%}", layers, metrics["sparsity"])
            )
        before = layers
    return found if len(found) <= _MOST else [found[0], found[len(found) // 2], found[-1]]


def _after(stages: Sequence[str], index: int) -> str:
    ambiguous = stages.count(stages[index]) > 1
    return "at the end" if ambiguous and index == len(stages) - 1 else f"after {stages[index]}"
