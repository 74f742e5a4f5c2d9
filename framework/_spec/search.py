"""How a spec's search space is gone through, and which of its trials are stopped early."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from framework._errors import Problem, nearest
from framework._paths import name_fault
from framework._spec.checks import integer, mapping_or_null, number, unknown_keys
from framework._spec.node import HOLE, Node, as_mapping
from framework._spec.resolve import MOST_EPOCHS
from framework._spec.space import RANDOM

ALGORITHMS = ("random", "optuna")
MODES = ("max", "min")
SCHEDULERS = ("asha",)
MOST_SEED = 2**32 - 1  # of NumPy, with which Ray draws
LEAST_FACTOR = 1.1  # a smaller one compares trials every epoch, and at millions of epochs that never come


@dataclass(frozen=True)
class SchedulerSpec:
    """Stops those trials early that do worse than others of their seed; asynchronous successive halving (ASHA).

    Attributes:
        name: ``asha``.
        grace_period: the epochs after which trials are compared for the first time.
        reduction_factor: each time, one of so many goes on; they are compared again after so many times the epochs.
    """

    name: str = "asha"
    grace_period: int = 1
    reduction_factor: float = 4


@dataclass(frozen=True)
class SearchSpec:
    """How the search space is gone through.

    Attributes:
        samples: how many points to try of the random search spaces; 1 if there are none.
        seed: what they are drawn or suggested with.
        algorithm: ``random`` draws all points beforehand; ``optuna`` suggests each by the results of others.
        metric: what tells good trials from bad ones; None: the primary one, on the validation set.
        mode: whether it should be at its ``max`` or ``min``; None: as the metric says of itself.
        scheduler: stops trials early; None lets each come to its end.
    """

    samples: int = 1
    seed: int = 0
    algorithm: str = "random"
    metric: str | None = None
    mode: str | None = None
    scheduler: SchedulerSpec | None = None

    @property
    def suggests(self) -> bool:
        """Whether points come one after another, so that no trial is known beforehand."""
        return self.algorithm != "random"


KEYS = tuple(SearchSpec.__dataclass_fields__)


def read_search(node: Node | None, spaces: Sequence[Node], written: Sequence[Node], found: list[Problem]) -> SearchSpec:
    """What a spec says under ``search``.

    Args:
        node: that part of the spec.
        spaces: its search spaces.
        written: those that its files have, before the command line changes them.
        found: takes the mistakes.
    """
    if node is None or not mapping_or_null(node, f"{', '.join(KEYS[:-1])} and {KEYS[-1]}", found) or not node.value:
        return SearchSpec()
    unknown_keys(node, KEYS, "search", found)
    given = {key: child for key, child in node.value.items() if child.value is not HOLE}
    algorithm = _one_of(given.get("algorithm"), "algorithm", ALGORITHMS, found) or SearchSpec.algorithm
    samples = integer(given.get("samples"), 1, found) or 1
    metric = _metric(given.get("metric"), found)
    mode = _one_of(given.get("mode"), "mode", MODES, found)
    seed = integer(given.get("seed"), 0, found, MOST_SEED) or 0
    scheduler = _scheduler(given.get("scheduler"), found)
    search = SearchSpec(samples, seed, algorithm, metric, mode, scheduler)
    if search.suggests:
        if "samples" not in node.value:
            found.append(node.problem(f"algorithm {algorithm!r} needs 'samples': how many points it may try"))
        message = f"algorithm {algorithm!r} does not go through a grid: write {{choice: [...]}}"
        found.extend(space.key_problem("grid_search", message) for space in spaces if space.space == "grid_search")
    if any(space.space in RANDOM for space in spaces):
        return search
    # What --set has put a value in the place of is no mistake of the file.
    if (samples > 1 or search.suggests) and not any(search.suggests or space.space in RANDOM for space in written):
        at = given.get("samples", node)
        found.append(at.problem(f"nothing to sample: no value is one of {', '.join(RANDOM)}"))
    return replace(search, samples=1, algorithm=SearchSpec.algorithm)


def _one_of(node: Node | None, what: str, valid: Sequence[str], found: list[Problem]) -> str | None:
    if node is None or node.value in valid:
        return None if node is None else str(node.value)
    found.append(node.problem(f"unknown {what} {node.shown} ({nearest(node.plain(), valid)})"))
    return None


def _metric(node: Node | None, found: list[Problem]) -> str | None:
    if node is None or node.value is None:
        return None
    if not isinstance(node.value, str) or name_fault(node.value.replace("/", "_")):
        found.append(node.problem(f"must be the name of a metric, such as val/loss, not {node.shown}"))
    return str(node.value)


def _scheduler(node: Node | None, found: list[Problem]) -> SchedulerSpec | None:
    if node is None or node.value is None:
        return None
    node = as_mapping(node)
    if not isinstance(node.value, dict):
        found.append(
            node.problem(f"must be a scheduler's name, a mapping of it and its options, or null, not {node.shown}")
        )
        return None
    if "name" not in node.value:
        found.append(node.problem(f"needs 'name', the scheduler's ({nearest('', SCHEDULERS)})"))
    name = _one_of(node.value.get("name"), "scheduler", SCHEDULERS, found) or SchedulerSpec.name
    unknown_keys(node, tuple(SchedulerSpec.__dataclass_fields__), f"scheduler {name!r}", found, "option")
    grace = integer(node.value.get("grace_period"), 1, found, MOST_EPOCHS) or SchedulerSpec.grace_period
    factor, expected = node.value.get("reduction_factor"), f"a number >= {LEAST_FACTOR}"
    reduction = number(factor, lambda n: LEAST_FACTOR <= n < inf, expected, found) if factor else None
    return SchedulerSpec(name, grace, reduction or SchedulerSpec.reduction_factor)
