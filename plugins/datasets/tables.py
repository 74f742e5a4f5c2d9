"""Tables of numbers: CSV and Parquet files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import FilePath
from torch import Tensor

from framework import Classification, DataError, Interval, StageError, TensorBatches, nearest
from framework_plugins.datasets.held_out import divided

if TYPE_CHECKING:
    import pandas as pd

Fraction = Annotated[float, Interval(gt=0, lt=1)]
_SHOWN = 5


def csv(
    path: FilePath,
    label: str,
    test: FilePath | Fraction = 0.2,
    columns: tuple[str, ...] | None = None,
    separator: str = ",",
    validation: float = 0.0,
) -> "Table":
    """A CSV file with one row per example: columns of numbers are the inputs, and one column is the class.

    Inputs have the shape (columns,), for which ``mlp`` is made. They are standardised: each column has mean 0 and
    standard deviation 1 over the rows that are trained on (a constant column becomes 0), and the run shows by what, as
    ``data.columns``, ``data.mean`` and ``data.std``. Booleans count as 0 and 1. The classes are the values of the label
    column, in order; it may hold text, integers or booleans.

    Args:
        path: the file; its first line names the columns.
        label: the column of the classes.
        test: the file with the rows to test on, or the fraction of each class of ``path`` to hold out for that, always
            the same rows.
        columns: the inputs; by default all columns except ``label``.
        separator: what stands between two values.
        validation: the fraction of the training set to hold out.

    Raises:
        DataError: a file cannot be read, a column is missing or holds something other than finite numbers, or a class
            is too rare to be divided.

    Example:
        data: {name: csv, path: mine.csv, label: species, validation: 0.1}
    """
    import pandas as pd

    def read(file: Path) -> "pd.DataFrame":
        return pd.read_csv(file, sep=separator)

    return _table(path, test, label, columns, validation, read)


def parquet(
    path: FilePath,
    label: str,
    test: FilePath | Fraction = 0.2,
    columns: tuple[str, ...] | None = None,
    validation: float = 0.0,
) -> "Table":
    """A Parquet file with one row per example: columns of numbers are the inputs, and one column is the class.

    It is read and standardised as ``csv`` is.

    Args:
        path: the file.
        label: the column of the classes.
        test: the file with the rows to test on, or the fraction of each class of ``path`` to hold out for that, always
            the same rows.
        columns: the inputs; by default all columns except ``label``.
        validation: the fraction of the training set to hold out.

    Raises:
        DataError: a file cannot be read, a column is missing or holds something other than finite numbers, or a class
            is too rare to be divided.

    Example:
        data: {name: parquet, path: mine.parquet, label: species, validation: 0.1}
    """
    import pandas as pd

    return _table(path, test, label, columns, validation, pd.read_parquet)


@dataclass(frozen=True)
class Table:
    """A `framework.Source` of standardised rows.

    Attributes:
        splits: inputs, float32 (N, columns), and labels, int64 (N,), of ``train``, ``validation`` (may be missing) and
            ``test``.
        columns: the names of the inputs.
        classes: the names of the classes.
        mean: (columns,), of the rows that are trained on; has been subtracted.
        std: as ``mean``; has been divided by.
    """

    splits: Mapping[str, tuple[NDArray[np.float32], NDArray[np.int64]]]
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int]:
        """(columns,)."""
        return (len(self.columns),)

    @property
    def notes(self) -> Mapping[str, Any]:
        """What whoever loads a logged model has to know."""
        return {"data.columns": self.columns, "data.mean": self.mean, "data.std": self.std}

    def open(self, device: torch.device, augment: tuple[str, ...]) -> "_Rows":
        """Put the rows on a device."""
        if augment:
            raise DataError(f"augment: {', '.join(augment)} is for images, and this is a table: leave it out")
        # Copied: what Ray hands on is read-only, of which torch would warn.
        return _Rows(
            {name: tuple(torch.tensor(array).to(device) for array in split) for name, split in self.splits.items()},
            self,
        )


@dataclass(frozen=True)
class _Rows:
    """A `framework.Data` of rows, on a trial's device."""

    tensors: Mapping[str, tuple[Tensor, ...]]
    table: Table

    @property
    def shape(self) -> tuple[int]:
        return self.table.shape

    @property
    def classes(self) -> tuple[str, ...]:
        return self.table.classes

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(name for name in ("train", "validation", "test") if name in self.tensors)

    @property
    def task(self) -> Classification:
        return Classification(self.classes)

    def batches(self, split: str, size: int, *, seed: int | None = None, channels_last: bool = False) -> TensorBatches:
        if split not in self.tensors:
            raise StageError("there is no validation set: hold one out with data: {validation: 0.1}")
        return TensorBatches(*self.tensors[split], batch_size=size, seed=seed)


def _table(
    path: Path, test: Path | float, label: str, columns: Sequence[str] | None, validation: float, read: Any
) -> "Table":
    frame = _read(path, read)
    if columns is None:
        columns = [name for name in map(str, frame.columns) if name != label]
    if label in columns:
        raise DataError(f"{path}: {label!r} is the label, and cannot be an input as well")
    if not columns:
        raise DataError(f"{path} has no columns besides the label {label!r}: there is no input")
    found, inputs = _labels(path, frame, label), _numbers(path, frame, columns)
    names = sorted(set(found.tolist()))
    labels = np.searchsorted(names, found).astype(np.int64)
    if isinstance(test, Path):
        held_out = _read(test, read)
        given, tested = _labels(test, held_out, label), _numbers(test, held_out, columns)
        if strange := sorted(map(str, set(given.tolist()) - set(names))):
            hint = nearest(strange[0], list(map(str, names)))
            raise DataError(f"{test}: {label} is {strange[0]!r}, which {path} has no row of ({hint})")
        splits = {"train": (inputs, labels), "test": (tested, np.searchsorted(names, given).astype(np.int64))}
    else:
        splits = _held_out(path, (inputs, labels), "test", test)
    if validation:
        splits |= _held_out(path, splits["train"], "validation", validation)
    mean, std = splits["train"][0].mean(0), splits["train"][0].std(0)
    std = np.where(std > 0, std, 1)
    return Table(
        {name: (((x - mean) / std).astype(np.float32), y) for name, (x, y) in splits.items()},
        tuple(columns),
        tuple(map(str, names)),
        tuple(mean.tolist()),
        tuple(std.tolist()),
    )


def _read(path: Path, read: Any) -> "pd.DataFrame":
    try:
        frame: pd.DataFrame = read(path)
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except MemoryError as error:
        raise DataError(f"{path} does not fit into memory") from error
    except Exception as error:  # a damaged file makes pandas and pyarrow raise anything at all
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    if not len(frame):
        raise DataError(f"{path} has no rows")
    return frame


def _column(path: Path, frame: "pd.DataFrame", name: str) -> "pd.Series[Any]":
    if name not in frame.columns:
        raise DataError(f"{path} has no column {name!r} ({nearest(name, list(map(str, frame.columns)))})")
    column: pd.Series[Any] = frame[name]
    if missing := int(column.isna().sum()):
        raise DataError(
            f"{path}: column {name!r} has no value in {missing} of {len(frame)} rows (pandas reads NA, None and nan as "
            "no value too): fill them in, or leave these rows out"
        )
    return column


def _numbers(path: Path, frame: "pd.DataFrame", columns: Sequence[str]) -> NDArray[np.float64]:
    """The inputs, float64 (N, columns)."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    found = np.empty((len(frame), len(columns)))
    for i, name in enumerate(columns):
        column = _column(path, frame, name)
        if not (is_numeric_dtype(column) or is_bool_dtype(column)):
            raise DataError(
                f"{path}: column {name!r} holds {column.iloc[0]!r}, which is no number: write it as numbers (such as "
                "0 and 1 for each of its values), or name the others as columns: […]"
            )
        found[:, i] = column.to_numpy(np.float64)
        if not np.isfinite(found[:, i]).all():
            raise DataError(f"{path}: column {name!r} holds infinite numbers")
    return found


def _labels(path: Path, frame: "pd.DataFrame", name: str) -> NDArray[Any]:
    """The labels as they are written: text, integers or booleans, (N,)."""
    from pandas.api.types import is_bool_dtype, is_float_dtype, is_integer_dtype

    column = _column(path, frame, name)
    if is_bool_dtype(column) or is_integer_dtype(column):
        return column.to_numpy()
    values = column.to_numpy(object)
    if is_float_dtype(column):
        if fraction := next((value for value in values if not float(value).is_integer()), None):
            raise DataError(
                f"{path}: column {name!r} holds {fraction}, which is no class: a label is text or a whole number"
            )
        return column.to_numpy(np.int64)
    if not all(isinstance(value, str) for value in values):
        raise DataError(f"{path}: column {name!r} must hold text, integers or booleans, as it is the label")
    return values.astype(str)


def _held_out(
    path: Path, rows: tuple[NDArray[np.float64], NDArray[np.int64]], name: str, fraction: float
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Hold a fraction of each class out, always the same rows; the rest is for training."""
    inputs, labels = rows
    return {
        split: (inputs[chosen], labels[chosen])
        for split, chosen in zip(("train", name), divided(path, labels, name, fraction), strict=True)
    }
