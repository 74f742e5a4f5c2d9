"""Validation errors in the words of a spec."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from framework._errors import nearest


def mistakes(found: Sequence[tuple[tuple[int | str, ...], str, Any]]) -> ValidationError:
    """Make one error of several mistakes, each with its location, its text and the value it is about."""
    return ValidationError.from_exception_data(
        "mistakes",
        [
            InitErrorDetails(type=PydanticCustomError("mistake", "{text}", {"text": text}), loc=at, input=value)
            for at, text, value in found
        ],
    )


_COMPARISONS = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}
_TYPES = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "string": "a string",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "path": "a path",
    "none": "null",
    "finite": "a finite number",
}

_MISSING = {"path_not_file": "file", "path_not_directory": "folder"}
_SHOWN = 300
_AS_IN_YAML = {None: "null", True: "true", False: "false"}


def message(error: Any, parameters: Iterable[str], owner: str) -> str:
    """Say one of pydantic's errors in the words of a spec."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "mistake":
        return str(error["msg"])
    if kind == "extra_forbidden":
        return f"{owner} has no parameter {error['loc'][-1]!r} ({nearest(error['loc'][-1], parameters)})"
    if kind == "missing":
        last = error["loc"][-1]
        return f"{owner} needs parameter {last!r}" if isinstance(last, str) else f"must have more than {last} items"
    if kind == "too_long":
        return f"must have at most {context['max_length']} items, not {context['actual_length']}"
    if kind in _MISSING:
        return f"there is no {_MISSING[kind]} {_cut(repr(str(value)))}"
    shown = _AS_IN_YAML[value] if value is None or isinstance(value, bool) else _cut(repr(value))
    if kind == "value_error":  # a plugin's own validator has said what is wrong
        return f"{context['error']}, not {shown}"
    if kind in _COMPARISONS:
        bound, sign = _COMPARISONS[kind]
        return f"must be {sign} {context[bound]:g}, not {shown}"
    if kind == "literal_error":
        return f"must be {context['expected']}, not {shown}"
    expected = _TYPES.get(kind.split("_")[0])
    if expected and kind.split("_", 1)[1] in ("type", "parsing", "from_float", "number"):
        return f"must be {expected}, not {shown}"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, not {shown}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
