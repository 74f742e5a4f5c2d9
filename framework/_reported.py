"""What a trial may report and log: numbers by name, and files by path."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor

from framework._errors import INTERRUPTS, shown
from framework._paths import name_fault

LAST_EPOCH = 2**53  # up to here a JSON number is exact
_LONGEST_METRIC = 250  # characters; MLflow takes no more
_LONGEST_PATH = 500  # bytes; object stores take little more
# What file systems or URLs take for something else.
_NOT_IN_ARTIFACTS = '\\:*?"<>|#%'


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


def artifact_fault(name: object) -> str | None:
    """Say why an artifact cannot have this name: what each part of it must be; None if it can."""
    if not isinstance(name, str):
        return f"must be a text, not a {type(name).__name__}"
    if fault := next((fault for part in name.split("/") if (fault := name_fault(part, _NOT_IN_ARTIFACTS))), None):
        return fault
    size = len(name.encode())
    return f"counts: together at most {_LONGEST_PATH} bytes, not {size:,}" if size > _LONGEST_PATH else None


def clash(one: str, other: str) -> bool:
    """Whether one of two artifacts would be a file, and a folder for the other."""
    return f"{one}/".startswith(f"{other}/") != f"{other}/".startswith(f"{one}/")


def _metric_name(name: object) -> str:
    # Half a character, a lone surrogate, can be written nowhere.
    if not isinstance(name, str) or not 0 < len(name.encode(errors="ignore").decode()) == len(name) <= _LONGEST_METRIC:
        raise ValueError(f"{shown(name)} is no metric's name, which has 1 to {_LONGEST_METRIC} characters")
    return "".join(name)  # a subclass need not be known where it is recorded


def _number(name: str, value: Any) -> float:
    try:
        plain = value.item() if isinstance(value, Tensor | np.generic | np.ndarray) and value.ndim == 0 else value
        if isinstance(plain, Real):
            return float(plain)
    except INTERRUPTS:
        raise
    except BaseException as error:  # of an integer beyond all floats, or of whatever calls itself a number
        raise ValueError(f"gave {shown(value)} as {name!r}, which is no float") from error
    raise ValueError(f"gave {shown(value)} as {name!r}, not a number")
