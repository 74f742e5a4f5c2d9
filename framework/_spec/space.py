"""Search spaces, in Ray's spelling: a mapping with one key, wherever a value stands."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from framework._errors import Problem
from framework._spec.node import HOLE, SPACES, Node, Path

RANDOM = SPACES[1:]
RANGES = SPACES[2:]
_LISTED = SPACES[:2]
_HUGE = 1e300  # beyond it a bound is infinite, or overflows what samples it
_NARROW = 1e-300  # in narrower ranges Optuna divides by zero


@dataclass(frozen=True)
class Space:
    """One search space of a spec.

    Attributes:
        path: where it stands in the spec's tree.
        kind: ``grid_search``, ``choice``, ``uniform``, ``loguniform`` or ``randint``.
        args: the candidates of ``grid_search`` and ``choice``, which may hold further spaces; else (low, high).
    """

    path: Path
    kind: str
    args: tuple[Any, ...]

    @property
    def random(self) -> bool:
        """Whether it is sampled, rather than gone through."""
        return self.kind != "grid_search"


def find(tree: Any, path: Path = ()) -> list[Space]:
    """All search spaces of a spec's tree, in its order; those inside a candidate come after the space it is of."""
    if isinstance(tree, Mapping):
        spaces = [Space(path, kind, tuple(args)) for kind, args in tree.items() if len(tree) == 1 and kind in SPACES]
        return spaces + [s for key, value in tree.items() for s in find(value, (*path, key))]
    if isinstance(tree, list):
        return [s for i, value in enumerate(tree) for s in find(value, (*path, i))]
    return []


def fill(tree: Any, chosen: Mapping[Path, Any]) -> tuple[Any, dict[Path, Any]]:
    """One point of a search space.

    Args:
        tree: a spec's.
        chosen: by the path of each space, the index of a candidate, or the number drawn from a range.

    Returns:
        The tree with a value in the place of every space, and these values by their paths in it.
    """
    values: dict[Path, Any] = {}

    def filled(tree: Any, at: Path, place: Path) -> Any:
        if isinstance(tree, list):
            return [filled(value, (*at, i), (*place, i)) for i, value in enumerate(tree)]
        if not isinstance(tree, Mapping):
            return tree
        kind = next(iter(tree), None)
        if len(tree) != 1 or kind not in SPACES:
            return {key: filled(value, (*at, key), (*place, key)) for key, value in tree.items()}
        values[place] = None  # before what is inside of it
        value = chosen[at]
        if kind in _LISTED:
            value = filled(tree[kind][value], (*at, kind, value), place)
        values[place] = value
        return value

    return filled(tree, (), ()), values


def sweep(spaces: Iterable[Space]) -> dict[Path, list[Any]]:
    """What values there may be, by their paths in a point: all candidates, or the ends of a range."""
    swept: dict[Path, list[Any]] = {}
    for space in spaces:
        swept.setdefault(place_of(space.path), []).extend(space.args)
    return swept


def place_of(path: Path) -> Path:
    """Where a space's value stands in a point, in which candidates stand in the place of their spaces."""
    inside = [i for i, kind in enumerate(path[:-1]) if kind in _LISTED and isinstance(path[i + 1], int)]
    return tuple(part for i, part in enumerate(path) if i not in inside and i - 1 not in inside)


def check(node: Node, found: list[Problem]) -> Node:
    """Report what is wrong with the search spaces in a value.

    Returns:
        The value with a hole for each space that cannot be expanded.
    """
    if node.space:
        args = node.value[node.space]
        known = args.value is HOLE or (node.space in RANGES and any(a.value is HOLE for a in args.children()))
        problem = None if known else _mistake(node.space, args)
        if problem:
            found.append(problem)
        if problem or known:
            return replace(node, value=HOLE)
        if node.space == "grid_search":
            found.extend(_repeated(args))
    return node.map(lambda child: check(child, found))


def forbid(node: Node, message: str, found: list[Problem]) -> Node:
    """Report every search space in a value.

    Returns:
        The value with a hole in the place of each.
    """
    if node.space:
        found.append(node.problem(message))
        return replace(node, value=HOLE)
    return node.map(lambda child: forbid(child, message, found))


def _mistake(kind: str, args: Node) -> Problem | None:
    if kind in _LISTED:
        if not isinstance(args.value, list):
            return args.problem(f"{kind} needs a list of candidates, not {args.shown}")
        return None if args.value else args.problem("empty grid" if kind == "grid_search" else "empty choice")
    number, what = (int, "integers") if kind == "randint" else (int | float, "numbers")
    bounds = args.plain()
    if (
        not isinstance(bounds, list)
        or len(bounds) != 2
        or not all(isinstance(b, number) and not isinstance(b, bool) and abs(b) < _HUGE for b in bounds)
    ):
        return args.problem(f"{kind} needs [low, high], two {what}, not {args.shown}")
    low, high = bounds
    if not low < high:
        return args.problem(f"{kind} needs low < high, not [{low!r}, {high!r}]")
    if high - low < _NARROW and kind == "uniform":
        return args.problem(f"uniform needs bounds that are at least {_NARROW} apart, not [{low!r}, {high!r}]")
    if kind == "loguniform" and low <= 0:
        return args.locate((0,)).problem(f"loguniform needs low > 0, not {low!r}")
    return None


def _repeated(grid: Node) -> list[Problem]:
    seen: set[Any] = set()
    problems = []
    for candidate in grid.value:
        value = _hashable(candidate.plain())
        # Where --set has made two candidates equal, the file is not wrong.
        changed = candidate.mark.line and not all(node.mark.line for node in candidate.walk())
        if not changed and value in seen:
            problems.append(candidate.problem(f"{candidate.shown} is in this grid already"))
        seen.add(value)
    return problems


def _hashable(value: Any) -> Any:
    """Equal for equal values; true is not 1."""
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(child)) for key, child in value.items())
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return isinstance(value, bool), value


def candidates(space: Node) -> list[Node]:
    """The values to validate a space by: all of a list, both ends of a range."""
    kind = str(space.space)
    args: list[Node] = space.value[kind].value
    if kind in _LISTED:
        return args
    low, high = args
    if kind == "randint":  # Ray never draws its upper bound
        return [low, *([replace(high, value=high.value - 1)] if high.value - 1 > low.value else [])]
    return [replace(bound, value=float(bound.value)) for bound in args]


def alternatives(node: Node | None) -> list[Node]:
    """What may stand in a value's place: its candidates, and theirs, if it is a search space."""
    if node is None:
        return []
    return [a for c in candidates(node) for a in alternatives(c)] if node.space else [node]


def points(root: Node) -> Iterator[Node]:
    """The tree with the first candidate of every space; then each other candidate, in the parts that it may matter to.

    These are all stages for what is in ``defaults``, else the model, the data, or an element of the stages.
    """
    first = {key: _pick(child, {}) for key, child in root.value.items()}
    yield replace(root, value=first)
    for node in find_all(root):
        part, *rest = node.path
        for i in range(1, len(candidates(node))):
            chosen = {**_around(node.path), node.path: i}
            if part not in ("stages", "defaults"):
                yield replace(root, value={part: _pick(root.value[part], chosen)})
                continue
            value = {key: first[key] for key in ("stages", "defaults") if key in first}
            if part == "stages" and rest and isinstance(rest[0], int):
                value[part] = replace(root.value[part], value=[_pick(root.value[part].value[rest[0]], chosen)])
            else:
                value[part] = _pick(root.value[part], chosen)
            yield replace(root, value=value)


def find_all(root: Node) -> Iterator[Node]:
    """All search spaces of a spec."""
    return (node for child in root.value.values() for node in child.walk() if node.space)


def _around(path: Path) -> dict[Path, int]:
    """Which candidates to choose so that a place inside of them is reached."""
    return {
        path[:i]: index for i, (kind, index) in enumerate(pairwise(path)) if kind in _LISTED and isinstance(index, int)
    }


def _pick(node: Node, chosen: Mapping[Path, int]) -> Node:
    while node.space:
        node = candidates(node)[chosen.get(node.path, 0)]
    return node.map(lambda child: _pick(child, chosen))


def graft(value: Any, node: Node) -> Node:
    """Give a point's plain values the places that they have in the spec.

    Args:
        value: plain data without search spaces.
        node: what it is a point of.
    """
    while node.space:
        fitting = [c for c in candidates(node) if node.space in _LISTED and _fits(value, c)]
        if not fitting:
            break
        node = fitting[0]
    if isinstance(value, Mapping):
        inside = node.value if isinstance(node.value, dict) else {}
        children = {key: graft(child, inside.get(key, node)) for key, child in value.items()}
        return Node(children, node.mark, node.path, node.keys)
    if isinstance(value, list):
        items = node.value if isinstance(node.value, list) and len(node.value) == len(value) else []
        items = items or [node] * len(value)
        return Node([graft(v, n) for v, n in zip(value, items, strict=True)], node.mark, node.path)
    return Node(value, node.mark, node.path)


def _fits(value: Any, node: Node) -> bool:
    if node.space:
        return node.space not in _LISTED or any(_fits(value, c) for c in candidates(node))
    if isinstance(node.value, dict):
        return (
            isinstance(value, Mapping)
            and value.keys() == node.value.keys()
            and all(_fits(value[key], child) for key, child in node.value.items())
        )
    if isinstance(node.value, list):
        return isinstance(value, list) and len(value) == len(node.value) and all(map(_fits, value, node.value))
    return bool(value == node.value)
