"""Tables of numbers: CSV and Parquet files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import FilePath

from framework import Arrays, Classification, DataError, Interval, Multilabel, Regression, Task, nearest
from framework_plugins.datasets.held_out import divided

if TYPE_CHECKING:
    import pandas as pd

Fraction = Annotated[float, Interval(gt=0, lt=1)]


def csv(
    path: FilePath,
    label: str | None = None,
    test: FilePath | Fraction = 0.2,
    columns: tuple[str, ...] | None = None,
    labels: tuple[str, ...] = (),
    quantities: tuple[str, ...] = (),
    separator: str = ",",
    validation: float = 0.0,
) -> Arrays:
    """A CSV file with one row per example: columns of numbers are the inputs, and one column is the class.

    Instead of a class there may be ``labels``, columns of 0 and 1 or of booleans, any of which may be true of a row; or
    ``quantities``, numbers to predict. Networks are trained on quantities that are standardised as inputs are, and
    metrics are in their own units.

    Inputs have the shape (columns,), for which ``mlp`` is made. They are standardised: each column has mean 0 and
    standard deviation 1 over the rows that are trained on (a constant column becomes 0), and the run shows by what, as
    ``data.columns``, ``data.mean`` and ``data.std``. Booleans count as 0 and 1. The classes are the values of the label
    column, in order; it may hold text, integers or booleans.

    Args:
        path: the file; its first line names the columns.
        label: the column of the classes.
        test: the file with the rows to test on, or the fraction of ``path`` (of each class, if there are classes) to
            hold out for that, always the same rows.
        columns: the inputs; by default all columns except those of the targets.
        labels: the columns of labels, instead of ``label``.
        quantities: the columns of quantities, instead of ``label``.
        separator: what stands between two values.
        validation: the fraction of the training set to hold out.

    Raises:
        DataError: a file cannot be read, a column is missing or holds something other than finite numbers, or a class
            is too rare to be divided.

    Example:
        data: {name: csv, path: mine.csv, label: species, validation: 0.1}
        # data: {name: csv, path: mine.csv, quantities: [price]}
    """
    import pandas as pd

    def read(file: Path) -> "pd.DataFrame":
        return pd.read_csv(file, sep=separator)

    return _table(path, test, _targets(label, labels, quantities), columns, validation, read)


def parquet(
    path: FilePath,
    label: str | None = None,
    test: FilePath | Fraction = 0.2,
    columns: tuple[str, ...] | None = None,
    labels: tuple[str, ...] = (),
    quantities: tuple[str, ...] = (),
    validation: float = 0.0,
) -> Arrays:
    """A Parquet file with one row per example: columns of numbers are the inputs, and one column is the class.

    It is read and standardised as ``csv`` is, and may have ``labels`` or ``quantities`` instead of the class as well.

    Args:
        path: the file.
        label: the column of the classes.
        test: the file with the rows to test on, or the fraction of ``path`` (of each class, if there are classes) to
            hold out for that, always the same rows.
        columns: the inputs; by default all columns except those of the targets.
        labels: the columns of labels, instead of ``label``.
        quantities: the columns of quantities, instead of ``label``.
        validation: the fraction of the training set to hold out.

    Raises:
        DataError: a file cannot be read, a column is missing or holds something other than finite numbers, or a class
            is too rare to be divided.

    Example:
        data: {name: parquet, path: mine.parquet, label: species, validation: 0.1}
    """
    import pandas as pd

    return _table(path, test, _targets(label, labels, quantities), columns, validation, pd.read_parquet)


@dataclass(frozen=True)
class _Targets:
    """The columns of the targets, and what they are."""

    columns: tuple[str, ...]
    kind: Literal["classes", "labels", "quantities"]


def _targets(label: str | None, labels: tuple[str, ...], quantities: tuple[str, ...]) -> _Targets:
    given: list[_Targets] = [_Targets((label,), "classes")] if label is not None else []
    given += [_Targets(labels, "labels")] if labels else []
    given += [_Targets(quantities, "quantities")] if quantities else []
    if len(given) != 1:
        raise DataError("give one of label (a column of classes), labels and quantities: it is what is to be predicted")
    return given[0]


def _table(
    path: Path, test: Path | float, targets: _Targets, columns: Sequence[str] | None, validation: float, read: Any
) -> Arrays:
    frame = _read(path, read)
    if columns is None:
        columns = [name for name in map(str, frame.columns) if name not in targets.columns]
    if twice := [name for name in targets.columns if name in columns]:
        raise DataError(f"{path}: {twice[0]!r} is the label, and cannot be an input as well")
    if not columns:
        raise DataError(f"{path} has no columns besides the label {targets.columns[-1]!r}: there is no input")
    found, names = _found(path, frame, targets)
    inputs = _numbers(path, frame, columns)
    splits: dict[Any, tuple[NDArray[Any], NDArray[Any]]]
    if isinstance(test, Path):
        held_out = _read(test, read)
        given, _ = _found(test, held_out, targets, names)
        splits = {"train": (inputs, found), "test": (_numbers(test, held_out, columns), given)}
    else:
        splits = _divided(path, (inputs, found), "test", test)
    if validation:
        splits |= _divided(path, splits["train"], "validation", validation)
    mean, std = _scale(splits["train"][0])
    notes = {"data.columns": tuple(columns), "data.mean": mean, "data.std": std}
    task: Task = Classification(names) if targets.kind == "classes" else Multilabel(names)
    if targets.kind == "quantities":
        target_mean, target_std = _scale(splits["train"][1])
        task = Regression(names, target_mean, target_std)
        splits = {name: (x, _scaled(y, target_mean, target_std)) for name, (x, y) in splits.items()}
        notes |= {"data.quantities": names, "data.quantities_mean": target_mean, "data.quantities_std": target_std}
    return Arrays({name: (_scaled(x, mean, std), y) for name, (x, y) in splits.items()}, task, notes)


def _found(
    path: Path, frame: "pd.DataFrame", targets: _Targets, names: Sequence[str] | None = None
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The targets of all rows, and the names of the outputs: of the classes all that there are, or those known."""
    if targets.kind == "classes":
        return _classes(path, frame, targets.columns[0], names)
    found = _numbers(path, frame, targets.columns)
    if targets.kind == "labels" and not ((found == 0) | (found == 1)).all():
        wrong = next(name for i, name in enumerate(targets.columns) if not np.isin(found[:, i], (0, 1)).all())
        raise DataError(f"{path}: column {wrong!r} is a label, and holds something other than 0 and 1")
    return found, targets.columns


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


def _classes(
    path: Path, frame: "pd.DataFrame", name: str, known: Sequence[str] | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The classes of all rows as numbers, and their names: those that are known, or all that there are, in order."""
    import pandas as pd

    found = _labels(path, frame, name)
    names = tuple(map(str, sorted(set(found.tolist())))) if known is None else tuple(known)
    numbers = pd.Index(names).get_indexer(found.astype(str)).astype(np.int64)
    if (numbers < 0).any():
        strange = min(map(str, found[numbers < 0].tolist()))
        raise DataError(f"{path}: {name} is {strange!r}, which no row to train on is ({nearest(strange, names)})")
    return numbers, names


def _divided(
    path: Path, rows: tuple[NDArray[np.float64], NDArray[Any]], name: str, fraction: float
) -> dict[Any, tuple[NDArray[np.float64], NDArray[Any]]]:
    """Hold a fraction of the rows out, of each class alike, always the same ones; the rest is for training."""
    inputs, targets = rows
    kept, held_out = divided(path, targets, name, fraction)
    return {"train": (inputs[kept], targets[kept]), name: (inputs[held_out], targets[held_out])}


def _scale(values: NDArray[np.float64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each column; 1 of one that is constant."""
    std = values.std(0)
    return tuple(values.mean(0).tolist()), tuple(np.where(std > 0, std, 1).tolist())


def _scaled(values: NDArray[np.float64], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float64]:
    return (values - np.array(mean)) / np.array(std)
