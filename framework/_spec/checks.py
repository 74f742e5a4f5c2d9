"""Checks of single values of a spec. Each says what is wrong, and goes on with a sensible value."""

from collections.abc import Callable, Sequence

from framework._errors import Problem, nearest
from framework._spec.node import HOLE, Node


def unknown_keys(node: Node, valid: Sequence[str], owner: str, found: list[Problem], what: str = "key") -> None:
    """Report every key of a mapping that is not valid there."""
    found.extend(
        node.key_problem(key, f"{owner} has no {what} {key!r} ({nearest(key, valid)})")
        for key in node.value
        if key not in valid
    )


def mapping_or_null(node: Node, content: str, found: list[Problem]) -> bool:
    """Whether a value is a mapping or null; reported if it is neither."""
    if node.value is None or isinstance(node.value, dict):
        return True
    if node.value is not HOLE:
        found.append(node.problem(f"must be a mapping of {content}, not {node.shown}"))
    return False


def stage_list(node: Node | None, found: list[Problem]) -> list[Node]:
    """The elements of a list of stages."""
    if node is None or node.value is HOLE:
        return []
    if not isinstance(node.value, list) or not node.value:
        wrong = "an empty one" if node.value == [] else node.shown
        found.append(node.misspelled_space() or node.problem(f"must be a list of stages, not {wrong}"))
        return []
    return node.value


def integer(node: Node | None, least: int, found: list[Problem], most: int = 2**63 - 1) -> int | None:
    """An integer that is neither too small nor too large."""
    if node is None or node.value is HOLE:
        return None
    if isinstance(node.value, bool) or not isinstance(node.value, int):
        found.append(node.misspelled_space() or node.problem(f"must be an integer >= {least}, not {node.shown}"))
        return None
    if not least <= node.value <= most:
        bound = f">= {least}" if node.value < least else f"<= {most}"
        found.append(node.problem(f"must be {bound}, not {node.value!r}"))
        return None
    return node.value


def number(node: Node, valid: Callable[[float], bool], expected: str, found: list[Problem]) -> float | None:
    """A number for which ``valid`` holds."""
    value = node.value
    if value is HOLE:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not valid(value):
        found.append(node.misspelled_space() or node.problem(f"must be {expected}, not {node.shown}"))
        return None
    return value
