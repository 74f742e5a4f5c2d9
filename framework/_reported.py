"""What a trial may report and log: numbers by name, and files by path."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from framework._errors import shown

LAST_EPOCH = 2**53  # up to here a JSON number is exact
_LONGEST_METRIC = 250  # characters; MLflow takes no more
_LONGEST_PART, _LONGEST_PATH = 250, 500  # bytes; file systems and object stores take little more


def plain_metrics(given: object) -> dict[str, float]:
    """Metrics as plain numbers by name.

    Raises:
        ValueError: they are none; the text says what is wrong.
    """
    if not isinstance(given, Mapping):
        raise ValueError(f"they must be metrics by name, not {type(given).__name__}")
    return {_metric_name(name): _number(name, value) for name, value in given.items()}


def is_epoch(value: object) -> bool:
    """Whether a trial can be at this epoch."""
    return type(value) is int and 0 <= value <= LAST_EPOCH


def is_artifact(name: object) -> bool:
    """Whether an artifact can have this name."""
    if not isinstance(name, str) or any(c in name for c in "\\:\0"):
        return False
    try:
        parts = name.encode().split(b"/")
    except UnicodeEncodeError:
        return False
    lengths = [len(part) for part in parts]
    fits = max(lengths) <= _LONGEST_PART and sum(lengths) + len(parts) - 1 <= _LONGEST_PATH
    return fits and all(parts) and not {b".", b".."} & set(parts)


def clash(one: str, other: str) -> bool:
    """Whether one of two artifacts would be a file, and a folder for the other."""
    return f"{one}/".startswith(f"{other}/") != f"{other}/".startswith(f"{one}/")


def _metric_name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_METRIC:
        raise ValueError(f"{shown(name)} is no metric's name, which has 1 to {_LONGEST_METRIC} characters")
    return "".join(name)  # a subclass need not be known where it is recorded


def _number(name: str, value: Any) -> float:
    try:
        plain = value.item() if isinstance(value, Tensor | np.generic | np.ndarray) and value.ndim == 0 else value
        if isinstance(plain, Real):
            return float(plain)
    except Exception as error:  # of an integer beyond all floats, or of whatever calls itself a number
        raise ValueError(f"gave {shown(value)} as {name!r}, which is no float") from error
    raise ValueError(f"gave {shown(value)} as {name!r}, not a number")
