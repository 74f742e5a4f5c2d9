"""YAML as specs are written in it: YAML 1.2's scalars, and no more of it than a spec can need."""

import re
from collections.abc import Callable
from math import isinf
from typing import Any

import yaml
from yaml.composer import ComposerError

from framework._errors import Problem, SpecError

CORE = "tag:yaml.org,2002:"
MOST_VALUES = 10_000
DEEPEST = 64
_LONGEST_INTEGER = 40  # digits that are worth a look; 64 bits take 20
_LONGEST_KEY = 250


class Loader(yaml.SafeLoader):
    """Resolves plain scalars as YAML 1.2 does: ``5e-4`` is a number, ``on`` and ``yes`` are words."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's way to drop what is inherited

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        self._values += 1
        if self._depth > DEEPEST or self._values > MOST_VALUES:
            wrong = f"nested too deeply: more than {DEEPEST} levels"
            if self._depth <= DEEPEST:
                wrong = f"more than the {MOST_VALUES:,} values that a spec may have"
            at = self.peek_event().start_mark  # type: ignore[no-untyped-call,unused-ignore]
            raise ComposerError(None, None, wrong, at)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


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
    Loader.add_implicit_resolver(CORE + _tag, re.compile(_pattern), _first)


def compose(text: str, file: str, *, inline: bool = False) -> yaml.Node | None:
    """Parse a text into PyYAML's graph, in which an alias is the node that it stands for.

    Args:
        text: YAML.
        file: what to call its place.
        inline: whether it is an option of the command line, which has no lines.

    Returns:
        None if it is empty.

    Raises:
        SpecError: it is no YAML, or more than a spec can be.
    """
    loader = None
    try:
        loader = Loader(text)
        return loader.get_single_node()  # type: ignore[no-any-return,no-untyped-call,unused-ignore]
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        line, column = (at.line + 1, at.column + 1) if at else (1, 1)
        message = ", ".join(part for part in (error.context, error.problem) if part)
        if "'\\t'" in message:
            message = "a tab cannot stand here: indent with spaces"
    except yaml.reader.ReaderError as error:
        line, column = position(text[: error.position])
        message = f"the character {chr(error.character)!r} cannot stand in YAML"
    except (
        ValueError,
        OverflowError,
    ):  # PyYAML lets through what Python cannot convert: "\UFFFFFFFF", %YAML 1.<5,000 digits>
        line, column = (loader.line + 1, loader.column + 1) if loader else (1, 1)
        message = "this is no YAML: a number in an escape or a directive is too large"
    if inline:
        line = column = 0
    raise SpecError([Problem(file, line, column, "", message)])


def position(before: str) -> tuple[int, int]:
    """Line and column, counted from 1, of what follows a text."""
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


# --- scalars -------------------------------------------------------------------------------------------------------


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise ValueError
    value = int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError
    return value


def _float(text: str) -> float:
    value = float(re.sub(r"\.(?=inf|nan)", "", text.lower()))
    if isinf(value) and "inf" not in text.lower():
        raise ValueError
    return value


def _string(text: str) -> str:
    if yaml.reader.Reader.NON_PRINTABLE.search(text):
        raise ValueError
    return text


_STRING = "a string without control characters and halves of characters"
_SCALARS: dict[str, tuple[str, Callable[[str], Any]]] = {
    CORE + "null": ("null", lambda text: None),
    CORE + "bool": ("true or false", _boolean),
    CORE + "int": ("an integer of at most 64 bits", _integer),
    CORE + "float": ("a number of at most 1.8e308", _float),
    CORE + "str": (_STRING, _string),
    CORE + "merge": (_STRING, _string),
}


def scalar(node: yaml.ScalarNode) -> Any:
    """A scalar's value.

    Raises:
        ValueError: it has none; says what it must be.
    """
    if node.tag not in _SCALARS:
        raise ValueError(unknown_tag(node))
    expected, convert = _SCALARS[node.tag]
    try:
        return convert(node.value)
    except (ValueError, KeyError):
        raise ValueError(f"must be {expected}, not {node.value[:40]!r}") from None


def key(node: yaml.Node) -> str:
    """A mapping's key.

    Raises:
        ValueError: it is none; says what it must be.
    """
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError("a key must be a word, not a list or mapping: put it in quotes")
    if node.tag not in (CORE + "str", CORE + "merge"):
        raise ValueError(f"a key must be a word, not {node.value[:40]!r}: put it in quotes")
    if len(node.value) > _LONGEST_KEY:
        raise ValueError(f"a key must be a word, not {len(node.value):,} characters")
    return str(scalar(node))


def unknown_tag(node: yaml.Node) -> str:
    """What is wrong with a node whose tag specs do not have."""
    return f"unknown tag {node.tag.replace(CORE, '!!')[:80]!r}: write the value without it"
