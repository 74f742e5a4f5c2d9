"""How much a spec amounts to, counted before any of it is written out."""

from collections.abc import Sequence
from math import prod

from framework._errors import SpecError
from framework._spec import space
from framework._spec.build import amount
from framework._spec.node import Node
from framework._spec.search import SearchSpec
from framework._spec.syntax import DEEPEST, MOST_VALUES

MAX_TRIALS = 100_000
MOST_STAGES = 10_000  # of one trial
_STAGES_A_TRIAL = 100  # at the limit of trials
_MOST_CHECKED = 10**6
TREE = ("model", "data", "defaults", "stages")  # where search spaces can stand


def check_size(root: Node) -> None:
    """Refuse a spec that bases and settings have made larger or deeper than a file may be.

    Raises:
        SpecError: it is.
    """
    values, stack = 0, [root]
    while stack:
        node = stack.pop()
        values += 1
        if len(node.path) > DEEPEST:
            raise SpecError([node.problem(f"nested too deeply: more than {DEEPEST} levels")])
        stack += node.children()
    if values > MOST_VALUES:
        message = f"with its bases and settings this spec has {values:,} values, more than the {MOST_VALUES:,} it may"
        raise SpecError([root.problem(message)])


def check_stages(root: Node) -> int:
    """How many stages a trial may come to have.

    Raises:
        SpecError: more than it can have, or there are too many candidates to check each.
    """
    stages = root.value.get("stages")
    items = [item for a in space.alternatives(stages) if isinstance(a.value, list) for item in a.value]
    count = _stages(stages)
    if count > MOST_STAGES:
        largest = max(items, key=_stage)
        message = f"trials would have up to {amount(count)} stages, more than the {MOST_STAGES:,} that are possible"
        raise SpecError([largest.problem(message)])
    work, candidates = _effort(root)
    if work > _MOST_CHECKED:
        message = f"its search spaces have {candidates:,} candidates, too many to check each in a spec of this size"
        raise SpecError([root.problem(message)])
    return count


def check_trials(root: Node, seeds: Sequence[int], search: SearchSpec, stages: int, limit: int) -> int:
    """How many trials a spec means; equal points count as often as they come.

    Args:
        root: the spec.
        seeds: its seeds.
        search: how its search space is gone through.
        stages: the most that a trial has.
        limit: the most trials that it may have.

    Raises:
        SpecError: it means more, or more stages than so many trials may have.
    """
    parts = [root.value[part] for part in TREE if part in root.value]
    points = 1 if search.suggests else prod(map(_points, parts))
    trials = points * search.samples * len(seeds)
    if trials <= limit and trials * stages <= limit * _STAGES_A_TRIAL:
        return trials
    factors = {"points": points, "samples": search.samples, "seeds": len(seeds)}
    largest = max(factors, key=lambda name: factors[name])
    at = {
        "points": next((node for part in parts for node in part.walk() if node.space == "grid_search"), root),
        "samples": root.locate(("search", "samples")),
        "seeds": root.locate(("seeds",)),
    }[largest]
    product = " × ".join(f"{amount(number)} {name}" for name, number in factors.items() if number > 1)
    message = f"{product} make {amount(trials)} trials, more than the limit of {limit:,}"
    if trials <= limit:
        message = f"{amount(trials)} trials of {stages:,} stages are more than the limit of {limit * _STAGES_A_TRIAL:,}"
    raise SpecError([at.problem(f"{message}: write fewer, or raise it with --max-trials")])


def _effort(root: Node) -> tuple[int, int]:
    """How many values and stages there are in all `space.points`, about, and how many candidates."""
    sizes = {key: _size(child) for key, child in root.value.items()}
    sizes["stages"] = sizes.get("stages", 0) + _stages(root.value.get("stages"))
    elements: dict[int, int] = {}
    candidates, work = 0, sum(sizes.values())
    for node in space.find_all(root):
        part, *rest = node.path
        size = sizes[str(part)] + (sizes["stages"] if part == "defaults" else 0)
        if part == "stages" and rest and isinstance(index := rest[0], int):
            item = root.value[part].value[index]
            elements[index] = elements.get(index) or _size(item) + _stage(item)
            size = elements[index] + sizes.get("defaults", 0)
        candidates += len(space.candidates(node))
        work += (len(space.candidates(node)) - 1) * size
    return work, candidates


def _size(node: Node) -> int:
    """The values of its largest point."""
    if node.space:
        return max(map(_size, space.candidates(node)))
    return 1 + sum(map(_size, node.children()))


def _points(node: Node) -> int:
    """The points of a grid; those of spaces that are inside of a candidate are of that candidate only."""
    if node.space == "grid_search":
        return sum(map(_points, space.candidates(node)))
    if node.space == "choice":
        return max(map(_points, space.candidates(node)))
    return 1 if node.space else prod(map(_points, node.children()))


def _stages(stages: Node | None) -> int:
    lists = [a.value for a in space.alternatives(stages) if isinstance(a.value, list)]
    return max((sum(map(_stage, items)) for items in lists), default=0)


def _stage(item: Node) -> int:
    """How many stages an element of a list of stages stands for, at most."""
    counts = [1]
    for alternative in space.alternatives(item):
        repeat = alternative.value.get("repeat") if isinstance(alternative.value, dict) else None
        for params in space.alternatives(repeat):
            if isinstance(params.value, dict):
                times = [a.value for a in space.alternatives(params.value.get("times"))]
                most = max((t for t in times if isinstance(t, int)), default=1)
                counts.append(most * _stages(params.value.get("stages")))
    return max(counts)
