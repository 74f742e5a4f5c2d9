"""What help and documentation say of a component: its docstring in parts, and its parameters in the words of YAML."""

import inspect
import json
import re
from collections.abc import Callable, Iterator, Mapping
from textwrap import dedent
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from framework._component import Entry
from framework._component.parameters import Nested


class Parameter(NamedTuple):
    """A parameter as it is shown.

    Attributes:
        name: that of a nested one comes after a dot, as in ``early_stopping.patience``.
        type: such as ``number or null``.
        bounds: such as ``> 0, <= 1``; empty if there are none.
        default: as JSON, or ``(required)``.
        meaning: from the docstring; empty if it says nothing.
    """

    name: str
    type: str
    bounds: str
    default: str
    meaning: str


def described(entry: Entry) -> list[Parameter]:
    """All parameters of a component, in the order of its signature.

    Raises:
        PluginError: a parameter without a default has a type that YAML cannot express.
    """
    return list(_parameters(entry.parameters, entry.factory, ""))


def _parameters(model: type[BaseModel], owner: Callable[..., Any], prefix: str) -> Iterator[Parameter]:
    properties = model.model_json_schema().get("properties", {})
    said = meanings(owner)
    for name, info in model.model_fields.items():
        found = properties[name]
        default = "(required)" if info.is_required() else json.dumps(found.get("default"), ensure_ascii=False)
        yield Parameter(f"{prefix}{name}", _type(found), _bounds(found), default, said.get(name, ""))
        if nested := _nested(info):
            yield from _parameters(nested.model, nested.cls, f"{prefix}{name}.")


def _nested(info: FieldInfo) -> Nested | None:
    options = (option for option in get_args(info.annotation) for option in getattr(option, "__metadata__", ()))
    return next((found for found in (*info.metadata, *options) if isinstance(found, Nested)), None)


_TITLE = re.compile(r"^(Args|Attributes|Called with|Returns|Raises|Example):\n", re.MULTILINE)
# Torch writes a type after the name.
_ITEM = re.compile(r"(\w+)(?: \([^)]*\))?:\s+(.*)", re.DOTALL)


def sections(described: Any) -> dict[str, str]:
    """A docstring in parts: the text under ``""``, and under its title each section, such as ``Args``."""
    text, *found = _TITLE.split(inspect.getdoc(described) or "")
    parts = {"": text.strip()}
    for title, rest in zip(found[::2], found[1::2], strict=True):
        # A section ends where the indentation does.
        body = re.match(r"(?:(?: .*)?\n?)*", rest)
        end = body.end() if body else 0
        parts[title] = dedent(rest[:end]).strip("\n")
        parts[""] = f"{parts['']}\n\n{rest[end:].strip()}".strip()
    return parts


def items(section: str) -> dict[str, str]:
    """The entries of a section, such as ``Args``: what is said of each name."""
    entries = (_ITEM.fullmatch(entry) for entry in re.split(r"\n(?=\S)", section))
    return {entry[1]: " ".join(entry[2].split()) for entry in entries if entry}


def meanings(owner: Callable[..., Any]) -> Mapping[str, str]:
    """What a docstring says of the parameters, by name."""
    parts = sections(owner)
    return {**items(parts.get("Args", "")), **items(parts.get("Attributes", ""))}


_PATHS = {"path": "path", "file-path": "file", "directory-path": "folder"}
_SIGNS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}


def _type(schema: Mapping[str, Any]) -> str:
    if "x-component" in schema:
        return str(schema["x-component"])
    if "anyOf" in schema:
        return " or ".join(_type(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type", "any")
    if kind == "array":
        inner = schema.get("prefixItems") or [schema.get("items", {})]
        return f"list of {', '.join(_type(item) for item in inner)}"
    if kind == "object" and "properties" in schema:
        return "mapping"
    return _PATHS.get(schema.get("format", ""), str(kind))


def _bounds(schema: Mapping[str, Any]) -> str:
    options = [schema, *schema.get("anyOf", ())]
    options += [option["items"] for option in options if "items" in option]
    return ", ".join(f"{sign} {option[key]:g}" for option in options for key, sign in _SIGNS.items() if key in option)
