"""Grids, expanded as Ray Tune does, without its import, which takes longer than all else that a spec needs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from framework._spec.node import Path
from framework._spec.space import Space, fill, find, place_of


def expand_grids(tree: Any, samples: int, seed: int) -> Iterable[tuple[Mapping[Path, Any], Any]]:
    """Expand a spec's search space whose only spaces are grids.

    Args:
        tree: a spec's.
        samples: how often each point comes.
        seed: unused, as nothing is drawn.

    Returns:
        Each point's values and its tree, in the order of Ray Tune.
    """
    for _ in range(samples):
        for chosen in _points(find(tree)):
            point, values = fill(tree, chosen)
            yield {place_of(path): values[place_of(path)] for path in chosen}, point


def _points(grids: Sequence[Space]) -> Iterator[dict[Path, int]]:
    """Which candidate each grid takes, by its path; the first grid changes fastest, those inside a candidate first."""
    outer = [grid for grid in grids if not any(_within(grid.path[:-1], other.path) for other in grids)]
    outer.sort(key=lambda grid: grid.path)
    for choice in product(*(range(len(grid.args)) for grid in reversed(outer))):
        chosen = {grid.path: i for grid, i in zip(outer, reversed(choice), strict=True)}
        inner = [grid for grid in grids if any(_within(grid.path, (*at, "grid_search", i)) for at, i in chosen.items())]
        yield from ({**chosen, **rest} for rest in (_points(inner) if inner else [{}]))


def _within(path: Path, other: Path) -> bool:
    return len(path) >= len(other) and path[: len(other)] == other
