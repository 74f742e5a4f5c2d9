"""The parameters of a component as help and documentation show them, in the words of YAML."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from framework._component.kinds import Entry
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
    """List all parameters of a component, in the order of its signature.

    Raises:
        PluginError: a parameter without a default has a type that YAML cannot express.
    """
    return list(_parameters(entry.parameters, ""))


def _parameters(model: type[BaseModel], prefix: str) -> Iterator[Parameter]:
    properties = model.model_json_schema().get("properties", {})
    for name, info in model.model_fields.items():
        found = properties[name]
        # The schema leaves out defaults that are made anew each time.
        default = found["default"] if "default" in found else info.get_default(call_default_factory=True)
        shown = "(required)" if info.is_required() else json.dumps(to_jsonable_python(default), ensure_ascii=False)
        yield Parameter(f"{prefix}{name}", _type(found), _bounds(found), shown, found.get("description", ""))
        if nested := _nested(info):
            yield from _parameters(nested.model, f"{prefix}{name}.")


def _nested(info: FieldInfo) -> Nested | None:
    options = (option for option in get_args(info.annotation) for option in getattr(option, "__metadata__", ()))
    return next((found for found in (*info.metadata, *options) if isinstance(found, Nested)), None)


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
    if kind == "object":
        return "mapping"
    return _PATHS.get(schema.get("format", ""), str(kind))


def _bounds(schema: Mapping[str, Any]) -> str:
    options = [schema, *schema.get("anyOf", ())]
    options += [option["items"] for option in options if "items" in option]
    return ", ".join(f"{sign} {option[key]:g}" for option in options for key, sign in _SIGNS.items() if key in option)
