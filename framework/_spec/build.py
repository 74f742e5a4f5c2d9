"""From PyYAML's graph to a tree of nodes: aliases and merge keys written out, no silent repetition."""

from collections.abc import Iterator
from math import log10

import yaml

from framework._errors import Problem, SpecError
from framework._spec import syntax
from framework._spec.node import HOLE, Mark, Node, Path
from framework._spec.syntax import CORE, DEEPEST, MOST_VALUES


class Builder:
    """Turns PyYAML's graph into nodes; an aliased value becomes one node for each place where it stands.

    Args:
        file: what to call the place.
        found: takes the mistakes.
        inline: whether it is an option of the command line, which has no lines.
    """

    def __init__(self, file: str, found: list[Problem], *, inline: bool = False) -> None:
        self.file, self.found, self.inline = file, found, inline
        self.open: list[yaml.Node] = []
        self.left = MOST_VALUES

    def tree(self, raw: yaml.Node, path: Path) -> Node:
        """The tree of a graph; those that one builder makes may have `MOST_VALUES` values together.

        Raises:
            SpecError: it would be larger than a spec can be, or deeper.
        """
        size = self._measure(raw, path)
        self.left -= size
        if self.left < 0:
            raise SpecError([Node(None, self.mark(raw), path).problem(_too_many(MOST_VALUES - self.left))])
        return self.node(raw, path)

    def _measure(self, root: yaml.Node, path: Path) -> int:
        """How many values a graph stands for, counted without writing any of them out."""
        sizes: dict[int, tuple[int, int]] = {}  # values and levels
        above: set[int] = set()
        first = None
        stack = [root]
        while stack:
            raw = stack[-1]
            inside = _inside(raw)
            if id(raw) not in above and id(raw) not in sizes:
                above.add(id(raw))
                stack += [n for n in inside if id(n) not in above]
                continue
            stack.pop()
            if id(raw) in sizes:
                continue
            above.discard(id(raw))
            known = [sizes.get(id(n), (1, 1)) for n in inside]  # what contains itself is told when it is built
            sizes[id(raw)] = 1 + sum(size for size, _ in known), 1 + max((levels for _, levels in known), default=0)
            if first is None and (sizes[id(raw)][0] > MOST_VALUES or sizes[id(raw)][1] > DEEPEST):
                first = raw
        if first is None:
            return sizes[id(root)][0]
        many = sizes[id(first)][0] > MOST_VALUES
        message = _too_many(sizes[id(root)][0]) if many else f"nested too deeply: more than {DEEPEST} levels"
        raise SpecError([Node(None, self.mark(first), path).problem(message)])

    def node(self, raw: yaml.Node, path: Path) -> Node:
        node = Node(HOLE, self.mark(raw), path)
        if any(raw is outer for outer in self.open):
            self.found.append(node.problem("this value contains itself through an alias"))
            return node
        self.open.append(raw)
        try:
            if isinstance(raw, yaml.ScalarNode):
                return Node(syntax.scalar(raw), node.mark, path)
            if raw.tag != CORE + ("seq" if isinstance(raw, yaml.SequenceNode) else "map"):
                raise ValueError(syntax.unknown_tag(raw))
            if not isinstance(raw, yaml.MappingNode):
                items = [self.node(item, (*path, i)) for i, item in enumerate(raw.value)]
                return Node(items, node.mark, path)
            value, keys = {}, {}
            for key, key_raw, child in self.pairs(raw, path):
                value[key] = self.node(child, (*path, key))
                keys[key] = self.mark(key_raw)
            return Node(value, node.mark, path, keys)
        except ValueError as error:
            self.found.append(node.problem(str(error)))
            return node
        finally:
            self.open.pop()

    def mark(self, raw: yaml.Node) -> Mark:
        at = raw.start_mark
        return Mark(self.file) if self.inline else Mark(self.file, at.line + 1, at.column + 1)

    def pairs(self, raw: yaml.MappingNode, path: Path) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Key, the key's node and the value's; what ``<<`` merges in comes first, so that own keys win."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_raw, child in raw.value:
            at = Node(None, self.mark(key_raw), path)
            try:
                key = syntax.key(key_raw)
            except ValueError as error:
                self.found.append(at.problem(str(error)))
                continue
            if key in own:
                first = own[key][0].start_mark.line + 1
                again = Node(None, at.mark, (*path, key))
                self.found.append(again.problem(f"repeated key, first given in line {first}"))
                continue
            own[key] = (key_raw, child)
            if key_raw.tag == CORE + "merge":
                yield from self.merged(own.pop(key)[1], path)
        yield from ((key, key_raw, child) for key, (key_raw, child) in own.items())

    def merged(self, raw: yaml.Node, path: Path) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        at = Node(None, self.mark(raw), path)
        if any(raw is outer for outer in self.open):
            self.found.append(at.problem("this value contains itself through an alias"))
        elif isinstance(raw, yaml.MappingNode):
            self.open.append(raw)
            yield from self.pairs(raw, path)
            self.open.pop()
        elif isinstance(raw, yaml.SequenceNode):
            for item in reversed(raw.value):  # the first one wins
                yield from self.merged(item, path)
        else:
            self.found.append(at.problem("<< merges a mapping, or a list of mappings"))


def _inside(raw: yaml.Node) -> list[yaml.Node]:
    if isinstance(raw, yaml.MappingNode):
        return [node for pair in raw.value for node in pair]
    return list(raw.value) if isinstance(raw, yaml.SequenceNode) else []


def _too_many(values: int) -> str:
    return f"with its aliases this spec has {amount(values)} values, more than the {MOST_VALUES:,} that it may have"


def amount(number: int) -> str:
    """A number for people, however large: Python refuses to write one of 5,000 digits."""
    return f"{number:,}" if number < _READABLE else f"about 10^{log10(number):.0f}"


_READABLE = 10**15
