"""Images in one NumPy archive."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import FilePath

from framework import DataError, Dataset

_KEYS = ("x_train", "y_train", "x_test", "y_test")


def npz(path: FilePath) -> Dataset:
    """Images in a NumPy archive.

    It holds ``x_train`` and ``x_test``, uint8 of shape (N, height, width, channels) or (N, height, width); ``y_train``
    and ``y_test``, integers of shape (N,), counted from 0; and, if the classes have names, these as ``classes``.

    Args:
        path: the archive.

    Raises:
        DataError: it cannot be read, or an array is missing, or of another dtype or shape.

    Example:
        data: {name: npz, path: mine.npz, validation: 0.1}
    """
    arrays = _arrays(path)
    images = {key: _images(path, key, arrays[key]) for key in ("x_train", "x_test")}
    if images["x_train"].shape[1:] != images["x_test"].shape[1:]:
        raise DataError(
            f"{path}: images of x_test must have the shape of those of x_train, "
            f"{arrays['x_train'].shape[1:]}, not {arrays['x_test'].shape[1:]}"
        )
    labels = {f"y_{split}": _labels(path, split, arrays) for split in ("train", "test")}
    return Dataset(
        train_images=images["x_train"],
        train_labels=labels["y_train"],
        test_images=images["x_test"],
        test_labels=labels["y_test"],
        classes=_classes(path, arrays, labels),
    )


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file:  # numpy leaves a damaged one open
            archive = np.load(file, allow_pickle=False)  # an object array would run code while it is loaded
            if isinstance(archive, np.ndarray):
                raise DataError(f"{path} holds a single array, not an .npz archive of {', '.join(_KEYS)}")
            for key in _KEYS:
                if key not in archive:
                    raise DataError(f"{path} has no array {key!r} (it has: {', '.join(archive) or 'none'})")
            return {key: archive[key] for key in (*_KEYS, "classes") if key in archive}
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read as an .npz archive: {error}") from error


def _images(path: Path, key: str, array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or not array.size:
        raise DataError(
            f"{path}: {key} must be uint8 of shape (N, height, width, channels) or (N, height, width), "
            f"not {array.dtype} of shape {array.shape}"
        )
    batch = array[..., np.newaxis] if array.ndim == 3 else array
    if batch.shape[1] in (1, 3) and batch.shape[3] > 4:
        raise DataError(
            f"{path}: {key} of shape {array.shape} has its channels first: they come last here, "
            "so save it as x.transpose(0, 2, 3, 1)"
        )
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2))


def _labels(path: Path, split: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    labels, count = arrays[f"y_{split}"], len(arrays[f"x_{split}"])
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise DataError(
            f"{path}: y_{split} must be integers of shape ({count},), as x_{split} has {count} images, "
            f"not {labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < 0:
        raise DataError(f"{path}: y_{split} must count classes from 0, but holds {labels.min()}")
    return labels.astype(np.int64)


def _classes(
    path: Path, arrays: Mapping[str, NDArray[Any]], labels: Mapping[str, NDArray[np.int64]]
) -> tuple[str, ...]:
    highest = {key: int(values.max()) for key, values in labels.items()}
    if "classes" not in arrays:
        return tuple(str(label) for label in range(max(highest.values()) + 1))
    names = arrays["classes"]
    if names.ndim != 1:
        raise DataError(f"{path}: classes must be of shape (classes,), not {names.shape}")
    for key, label in highest.items():
        if label >= len(names):
            raise DataError(f"{path}: {key} holds {label}, but classes names only 0 to {len(names) - 1}")
    return tuple(str(name) for name in names)
