"""``--set path=value``: change a spec from the command line."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from framework._errors import Problem, SpecError, nearest
from framework._spec.document import parse
from framework._spec.node import HOLE, SPACES, Mark, Node, Path, as_mapping, dotted
from framework._spec.syntax import DEEPEST

_SHOWN = 300


def override(root: Node, setting: str, keys: Sequence[str], found: list[Problem]) -> Node:
    """Set values of a spec.

    Args:
        root: the spec.
        setting: ``path=value``; the value is YAML. In the path, a number or ``*`` stands for elements of a list: ``*``
            for all those in which the rest of the path leads somewhere, repeated stages too. A component's bare name
            becomes a mapping, a search space is passed through to its candidates.
        keys: the top-level keys that can be set.
        found: takes what is wrong with the setting.

    Returns:
        The changed spec; unchanged, where something is wrong.
    """
    label = f"--set {setting}" if len(setting) <= _SHOWN else f"--set {setting[:_SHOWN]}…"
    path, equals, text = setting.partition("=")
    steps = path.strip().split(".")
    if not equals or not all(steps) or len(steps) > DEEPEST:
        found.append(Problem(label, 0, 0, "", "must be path=value, such as data.validation=0.2"))
        return root
    if steps[0] not in keys:
        found.append(Problem(label, 0, 0, path, f"a spec has no key {steps[0]!r} ({nearest(steps[0], keys)})"))
        return root
    try:
        return _Setter(Mark(label), parse(text, label, found)).put(root, (), tuple(steps))
    except SpecError as error:
        found.extend(error.problems)
    except _NowhereError as nowhere:
        found.append(Problem(label, 0, 0, path, str(nowhere)))
    return root


class _NowhereError(Exception):
    """The path does not lead anywhere; says why."""


class _Setter:
    def __init__(self, mark: Mark, make: Callable[[Path], Node]) -> None:
        self.mark, self.make = mark, make

    def put(self, node: Node, place: Path, steps: tuple[str, ...]) -> Node:
        """The node with the value put where the steps lead."""
        if not steps:
            return self.make(place)
        step = steps[0]
        if node.space and step != node.space:
            return self._candidates(node, place, steps)
        if isinstance(node.value, str):
            node = _expanded(node, place, step)
        if node.value is None or node.value is HOLE:
            node = Node({}, self.mark, place)
        if isinstance(node.value, dict):
            return self._entry(node, place, steps)
        if isinstance(node.value, list):
            return self._elements(node, place, steps)
        raise _NowhereError(f"{dotted(place)} is {node.value!r}, not a mapping")

    def _entry(self, node: Node, place: Path, steps: tuple[str, ...]) -> Node:
        step, *rest = steps
        if step not in node.value and _is_stage(place):
            raise _NowhereError(f"{dotted(place)} is {' and '.join(map(repr, node.value)) or 'empty'}, not {step!r}")
        inside = (*place, step)
        child = self.put(node.value.get(step, Node(None, self.mark, inside)), inside, tuple(rest))
        keys = node.keys if step in node.value else {**node.keys, step: self.mark}
        return replace(node, value={**node.value, step: child}, keys=keys)

    def _elements(self, node: Node, place: Path, steps: tuple[str, ...]) -> Node:
        step, *rest = steps
        count = len(node.value)
        if step != "*":
            index = int(step) if step.isdecimal() else count
            if index >= count:
                valid = f"valid: {'0' if count == 1 else f'0 to {count - 1}'} or *" if count else "it is empty"
                raise _NowhereError(f"{dotted(place)} has no element {step!r} ({valid})")
            children = list(node.value)
            children[index] = self.put(children[index], (*place, index), tuple(rest))
            return replace(node, value=children)
        children, reached, why = self._each(node.value, place, tuple(rest))
        if not reached:
            names = [name for item in node.value for name in _stage_names(item)]
            if rest and rest[0] not in names and place[-1] == "stages":
                why = f"{dotted(place)} has no {rest[0]!r} ({nearest(rest[0], names)})"
            raise _NowhereError(why)
        return replace(node, value=children)

    def _each(self, items: list[Node], place: Path, rest: tuple[str, ...]) -> tuple[list[Node], bool, str]:
        children, reached, why = [], False, f"{dotted(place)} is empty"
        for i, item in enumerate(items):
            steps = rest
            repeated = isinstance(item.value, dict) and "repeat" in item.value and _is_stage((*place, i))
            if repeated and rest and rest[0] != "repeat":
                steps = ("repeat", "stages", "*", *rest)
            try:
                children.append(self.put(item, (*place, i), steps))
                reached = True
            except _NowhereError as nowhere:
                children.append(item)
                why = str(nowhere)
        return children, reached, why

    def _candidates(self, node: Node, place: Path, steps: tuple[str, ...]) -> Node:
        kind = str(node.space)
        args = node.value[kind]
        if kind not in ("grid_search", "choice") or not isinstance(args.value, list):
            raise _NowhereError(f"{dotted(place)} is a search space, not a mapping")
        children, reached, why = self._each(args.value, (*place, kind), steps)
        if not reached:
            raise _NowhereError(why)
        return replace(node, value={kind: replace(args, value=children)})


def _is_stage(place: Path) -> bool:
    """Whether this is an element of a list of stages, or a candidate for one."""
    while len(place) > 2 and isinstance(place[-1], int) and place[-2] in SPACES:
        place = place[:-2]
    return len(place) > 1 and isinstance(place[-1], int) and _lists_stages(place[:-1])


def _lists_stages(place: Path) -> bool:
    while len(place) > 2 and isinstance(place[-1], int) and place[-2] in SPACES:
        place = place[:-2]
    return place[0] == "stages" and place[-1] == "stages"


def _stage_names(item: Node) -> list[str]:
    """What an element of a list of stages can be reached by."""
    if isinstance(item.value, dict):
        nested = item.value.get("repeat")
        stages = nested.locate(("stages",)).value if nested else None
        inside = [name for stage in stages for name in _stage_names(stage)] if isinstance(stages, list) else []
        return [*item.value, *inside]
    return [item.value] if isinstance(item.value, str) else []


def _expanded(node: Node, place: Path, step: str) -> Node:
    """A bare name as the mapping that it stands for: of a stage or of another component."""
    if not _is_stage(place):
        return as_mapping(node)
    if node.value != step:
        raise _NowhereError(f"{dotted(place)} is {node.value!r}, not {step!r}")
    return replace(node, value={step: Node(None, node.mark, (*place, step))}, keys={step: node.mark})
