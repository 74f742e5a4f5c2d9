"""Validation errors in the words of a spec."""

from collections.abc import Iterable, Mapping, Sequence
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


def explain(
    errors: Sequence[Any], values: Mapping[str, Any], parameters: Iterable[str], owner: str
) -> list[tuple[tuple[int | str, ...], str, Any]]:
    """Say pydantic's errors in the words of a spec, as `mistakes` takes them.

    A value that may be of several types has an error for each of them. Told is what is wrong with it as the type that
    it has; if it has none, which ones it may have.
    """
    mistyped = [
        len(e["loc"]) == 2 and e["loc"][0] in values and e["input"] is values[e["loc"][0]] and bool(_expected(e))
        for e in errors
    ]
    typed = {e["loc"][0] for e, wrong in zip(errors, mistyped, strict=True) if not wrong}
    found, alternatives = [], dict[str, list[str]]()
    for error, wrong in zip(errors, mistyped, strict=True):
        name = error["loc"][0]
        if not wrong:
            found.append((_place(error, values), message(error, parameters, owner), error["input"]))
        elif name not in typed:
            alternatives.setdefault(name, []).append(_expected(error))
    for name, expected in alternatives.items():
        found.append(((name,), f"must be {' or '.join(expected)}, not {_shown(values[name])}", values[name]))
    return found


def _place(error: Any, value: Any) -> tuple[int | str, ...]:
    """Where an error is, without the types by whose names pydantic tells alternatives apart."""
    place: list[int | str] = []
    for part in error["loc"]:
        try:
            value = value[part]
        except (IndexError, KeyError, TypeError):  # there is nothing of that name
            if error["type"] not in ("missing", "extra_forbidden", "mistake"):
                continue
        place.append(part)
    return tuple(place)


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
    shown = _shown(value)
    if kind == "value_error":  # a plugin's own validator has said what is wrong
        return f"{context['error']}, not {shown}"
    if kind in _COMPARISONS:
        bound, sign = _COMPARISONS[kind]
        return f"must be {sign} {context[bound]:g}, not {shown}"
    if expected := _expected(error):
        return f"must be {expected}, not {shown}"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, not {shown}"


def _expected(error: Any) -> str:
    """What a value should be instead, if it is of a wrong type or none of those listed."""
    if error["type"] in ("literal_error", "nested_type"):
        return str(error["ctx"]["expected"])
    name, _, fault = error["type"].partition("_")
    return _TYPES.get(name, "") if fault in ("type", "parsing", "from_float", "number") else ""


def _shown(value: Any) -> str:
    return _AS_IN_YAML[value] if value is None or isinstance(value, bool) else _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
