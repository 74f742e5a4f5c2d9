"""YAML to nodes: YAML 1.2's scalars, no silent repetition, bases merged in."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path as FilePath
from typing import Any

import yaml

from framework._errors import Problem, SpecError
from framework._spec.node import HOLE, Mark, Node, Path, merge

_CORE = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """Resolves plain scalars as YAML 1.2 does: ``5e-4`` is a number, ``on`` and ``yes`` are words."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's way to drop what is inherited


for _tag, _pattern, _first in [
    ("null", r"(?:~|null|Null|NULL|)\Z", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)\Z", list("tTfF")),
    ("int", r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z", list("-+0123456789")),
    (
        "float",
        r"(?:[-+]?(?:(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN))\Z",
        list("-+.0123456789"),
    ),
    ("merge", r"<<\Z", ["<"]),
]:
    _Loader.add_implicit_resolver(_CORE + _tag, re.compile(_pattern), _first)


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _integer(text: str) -> int:
    return int(text, 0) if text.startswith(("0o", "0x")) else int(text)


_SCALARS: dict[str, tuple[str, Callable[[str], Any]]] = {
    _CORE + "null": ("null", lambda text: None),
    _CORE + "bool": ("true or false", _boolean),
    _CORE + "int": ("an integer", _integer),
    _CORE + "float": ("a number", lambda text: float(re.sub(r"\.(?=inf|nan)", "", text.lower()))),
    _CORE + "str": ("a string", str),
    _CORE + "merge": ("a string", str),
}


def read(file: FilePath, found: list[Problem]) -> Node:
    """Read a spec and the specs that it extends.

    Args:
        file: the spec.
        found: takes the mistakes after which reading can go on.

    Returns:
        The top-level mapping, without ``extends``. A base's ``name`` is not inherited: it names the base.

    Raises:
        SpecError: the file, or one that it extends, cannot be read as a mapping at all.
    """
    return _read(file, (), found)


def parse(text: str, file: str, found: list[Problem]) -> Callable[[Path], Node]:
    """Parse a value that was given on the command line.

    Args:
        text: YAML.
        file: what to call its place.
        found: takes the mistakes after which reading can go on.

    Returns:
        A function of the path at which the value is to stand.

    Raises:
        SpecError: it is no YAML.
    """
    raw = _compose(text, file, inline=True)
    if raw is None:
        return lambda path: Node(None, Mark(file), path)
    return lambda path: _Builder(file, found, inline=True).node(raw, path)


def _read(file: FilePath, chain: tuple[FilePath, ...], found: list[Problem]) -> Node:
    name = str(file)
    raw = _compose(_text(file), name)
    if raw is None:
        raise SpecError([Problem(name, 1, 1, "", "the file is empty")])
    try:
        root = _Builder(name, found).node(raw, ())
    except RecursionError:
        raise SpecError([Problem(name, 1, 1, "", "this is nested too deeply")]) from None
    if not isinstance(root.value, dict):
        message = "a spec must be a mapping (model: …, data: …, stages: …)"
        raise SpecError([*found, root.problem(message)])
    if "extends" not in root.value:
        return root
    base = _base(root.value["extends"], file, (*chain, file.resolve()), found)
    own = {key: child for key, child in root.value.items() if key != "extends"}
    if base is None:
        # Most of what the file leaves out is in the base: to say that it is missing would mislead.
        return Node({**dict.fromkeys(("model", "data", "stages"), _hole(root)), **own}, root.mark, (), root.keys)
    value = {key: child for key, child in base.value.items() if key != "name"}
    for key, child in own.items():
        value[key] = merge(value[key], child) if key in value else child
    return Node(value, root.mark, (), {**base.keys, **root.keys})


def _base(extends: Node, file: FilePath, chain: tuple[FilePath, ...], found: list[Problem]) -> Node | None:
    if not isinstance(extends.value, str):
        if extends.value is not HOLE:
            found.append(extends.problem(f"must be the path of another spec, not {extends.shown}"))
        return None
    base = file.parent / extends.value
    if not base.is_file():
        found.append(extends.problem(f"there is no file {str(base)!r}"))
    elif base.resolve() in chain:
        circle = [*chain[chain.index(base.resolve()) :], base]
        found.append(extends.problem(f"specs extend each other: {' -> '.join(f.name for f in circle)}"))
    else:
        return _read(base, chain, found)
    return None


def _text(file: FilePath) -> str:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise SpecError([Problem(str(file), 0, 0, "", "there is no such file")]) from None
    except OSError as error:
        raise SpecError([Problem(str(file), 0, 0, "", f"cannot be read: {error.strerror}")]) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, column = _position(content[: error.start].decode("utf-8-sig"))
        message = f"this is no UTF-8 text (byte 0x{content[error.start]:02x})"
        raise SpecError([Problem(str(file), line, column, "", message)]) from None


def _position(before: str) -> tuple[int, int]:
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def _compose(text: str, file: str, *, inline: bool = False) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=_Loader)  # type: ignore[no-any-return,no-untyped-call,unused-ignore]
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        line, column = (at.line + 1, at.column + 1) if at else (1, 1)
        message = ", ".join(part for part in (error.context, error.problem) if part)
        if "'\\t'" in message:
            message = "a tab cannot stand here: indent with spaces"
    except yaml.reader.ReaderError as error:
        line, column = _position(text[: error.position])
        message = f"the character {chr(error.character)!r} cannot stand in YAML"
    except RecursionError:
        line, column, message = 1, 1, "this is nested too deeply"
    if inline:
        line = column = 0
    raise SpecError([Problem(file, line, column, "", message)])


def _hole(node: Node) -> Node:
    return Node(HOLE, node.mark, node.path)


class _Builder:
    """Turns PyYAML's graph into nodes; an aliased value becomes one node for each place where it stands."""

    def __init__(self, file: str, found: list[Problem], *, inline: bool = False) -> None:
        self.file, self.found, self.inline = file, found, inline
        self.open: list[yaml.Node] = []

    def node(self, raw: yaml.Node, path: Path) -> Node:
        node = Node(HOLE, self.mark(raw), path)
        if any(raw is outer for outer in self.open):
            self.found.append(node.problem("this value contains itself through an alias"))
            return node
        self.open.append(raw)
        try:
            if isinstance(raw, yaml.ScalarNode):
                return Node(self.scalar(raw, node), node.mark, path)
            if raw.tag != _CORE + ("seq" if isinstance(raw, yaml.SequenceNode) else "map"):
                self.found.append(node.problem(_unknown_tag(raw)))
                return node
            if not isinstance(raw, yaml.MappingNode):
                items = [self.node(item, (*path, i)) for i, item in enumerate(raw.value)]
                return Node(items, node.mark, path)
            value, keys = {}, {}
            for key, key_raw, child in self.pairs(raw, path):
                value[key] = self.node(child, (*path, key))
                keys[key] = self.mark(key_raw)
            return Node(value, node.mark, path, keys)
        finally:
            self.open.pop()

    def mark(self, raw: yaml.Node) -> Mark:
        at = raw.start_mark
        return Mark(self.file) if self.inline else Mark(self.file, at.line + 1, at.column + 1)

    def scalar(self, raw: yaml.ScalarNode, node: Node) -> Any:
        if raw.tag not in _SCALARS:
            self.found.append(node.problem(_unknown_tag(raw)))
            return HOLE
        expected, convert = _SCALARS[raw.tag]
        try:
            return convert(raw.value)
        except (ValueError, KeyError):
            self.found.append(node.problem(f"must be {expected}, not {raw.value[:40]!r}"))
            return HOLE

    def pairs(self, raw: yaml.MappingNode, path: Path) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Key, the key's node and the value's; what ``<<`` merges in comes first, so that own keys win."""
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_raw, child in raw.value:
            at = Node(None, self.mark(key_raw), path)
            key = self.key(key_raw, at)
            if key is not None and key in own:
                first = own[key][0].start_mark.line + 1
                again = Node(None, at.mark, (*path, key))
                self.found.append(again.problem(f"repeated key, first given in line {first}"))
            elif key is not None:
                own[key] = (key_raw, child)
                if key_raw.tag == _CORE + "merge":
                    yield from self.merged(own.pop(key)[1], path)
        yield from ((key, key_raw, child) for key, (key_raw, child) in own.items())

    def key(self, raw: yaml.Node, at: Node) -> str | None:
        if isinstance(raw, yaml.ScalarNode) and raw.tag in (_CORE + "str", _CORE + "merge"):
            return str(raw.value)
        what = repr(raw.value) if isinstance(raw, yaml.ScalarNode) else "a list or mapping"
        self.found.append(at.problem(f"a key must be a word, not {what}: put it in quotes"))
        return None

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


def _unknown_tag(raw: yaml.Node) -> str:
    return f"unknown tag {raw.tag.replace(_CORE, '!!')!r}: write the value without it"
