"""Docstrings in parts: what one says of each parameter is read here, and shown wherever the parameter is."""

import inspect
import re
from collections.abc import Callable
from textwrap import dedent
from typing import Any

_TITLE = re.compile(r"^(Args|Attributes|Called with|Returns|Raises|Example):\n", re.MULTILINE)
# Torch writes a type after the name.
_ITEM = re.compile(r"(\w+)(?: \([^)]*\))?:\s+(.*)", re.DOTALL)


def sections(owner: Callable[..., Any]) -> dict[str, str]:
    """A docstring in parts: the text under ``""``, and under its title each section, such as ``Args``."""
    text, *found = _TITLE.split(inspect.getdoc(owner) or "")
    parts = {"": text.strip()}
    for title, rest in zip(found[::2], found[1::2], strict=True):
        # A section ends where the indentation does.
        body, *after = re.split(r"\n(?=\S)", rest, maxsplit=1)
        parts[title] = dedent(body).strip("\n")
        parts[""] = "\n\n".join([parts[""], *(text.strip() for text in after)]).strip()
    return parts


def items(section: str) -> dict[str, str]:
    """The entries of a section, such as ``Args``: what is said of each name."""
    entries = (_ITEM.fullmatch(entry) for entry in re.split(r"\n(?=\S)", section))
    return {entry[1]: " ".join(entry[2].split()) for entry in entries if entry}


def meanings(owner: Callable[..., Any]) -> dict[str, str]:
    """The descriptions of parameters in a docstring, by name; base classes describe inherited parameters."""
    said: dict[str, str] = {}
    for one in reversed(owner.__mro__) if inspect.isclass(owner) else [owner]:
        parts = sections(one)
        said |= {**items(parts.get("Args", "")), **items(parts.get("Attributes", ""))}
    return said
