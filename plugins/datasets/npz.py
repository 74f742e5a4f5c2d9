"""Images in one NumPy archive."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import FilePath

from framework import DataError, Dataset

_KEYS = ("x_train", "y_train", "x_test", "y_test")
_SHOWN = 5


def npz(path: FilePath) -> Dataset:
    """Images in a NumPy archive.

    It holds ``x_train`` and ``x_test``, uint8 of shape (N, height, width, channels) or (N, height, width); ``y_train``
    and ``y_test``, integers >= 0 of shape (N,); and, if the classes have names, these as ``classes``, one for each
    label from 0 on. Without names the classes are the labels that occur, and are called after them.

    Args:
        path: the archive.

    Raises:
        DataError: it cannot be read, or an array is missing, or of another dtype or shape.

    Example:
        data: {name: npz, path: mine.npz, validation: 0.1}
    """
    arrays = _arrays(path)
    labels, classes = labels_of(path, arrays)
    images = {split: np.ascontiguousarray(channels_first(arrays[f"x_{split}"])) for split in ("train", "test")}
    return Dataset(images["train"], labels["train"], images["test"], labels["test"], classes)


def labels_of(path: Path, arrays: Mapping[str, NDArray[Any]]) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """Check all arrays; return the labels of ``train`` and ``test`` as indices of the classes, and the classes' names.

    Args:
        path: where the arrays are from, for messages.
        arrays: ``x_train``, ``y_train``, ``x_test`` and ``y_test``, and maybe ``classes``.

    Raises:
        DataError: an array is of another dtype or shape.
    """
    for key in ("x_train", "x_test"):
        _check_images(path, key, arrays[key])
    sizes = [channels_first(arrays[key]).shape[1:] for key in ("x_train", "x_test")]
    if sizes[0] != sizes[1]:
        raise DataError(
            f"{path}: images of x_test must have the shape of those of x_train, "
            f"{arrays['x_train'].shape[1:]}, not {arrays['x_test'].shape[1:]}"
        )
    labels = {split: _labels(path, split, arrays) for split in ("train", "test")}
    if "classes" in arrays:
        return labels, _names(path, arrays["classes"], labels)
    return _occurring(path, labels)


def channels_first(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """View images (N, height, width, channels) or (N, height, width) as (N, channels, height, width)."""
    return images[:, np.newaxis] if images.ndim == 3 else images.transpose(0, 3, 1, 2)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as file:  # numpy leaves a damaged one open
            archive = np.load(file, allow_pickle=False)  # an object array would run code while it is loaded
            found = [] if isinstance(archive, np.ndarray) else [*archive]
            arrays = {key: archive[key] for key in (*_KEYS, "classes") if key in found}
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except MemoryError as error:
        raise DataError(
            f"{path} holds more than fits into memory: {error}. An archive can only be read whole: save its arrays one "
            "by one, as x_train.npy and so on in one folder, and the dataset npy reads them as they are needed"
        ) from error
    except Exception as error:  # a damaged file makes zipfile and NumPy raise anything at all
        raise DataError(f"{path} cannot be read as an .npz archive: {error}") from error
    if isinstance(archive, np.ndarray):
        raise DataError(f"{path} holds a single array, not an .npz archive of {', '.join(_KEYS)}")
    for key in _KEYS:
        if key not in arrays:
            raise DataError(f"{path} has no array {key!r} (it has: {', '.join(found) or 'none'})")
        if not isinstance(arrays[key], np.ndarray):  # a file in the archive that is no array at all
            raise DataError(f"{path}: {key} is no array")
    return arrays


def _check_images(path: Path, key: str, array: NDArray[Any]) -> None:
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or not array.size:
        raise DataError(
            f"{path}: {key} must be uint8 of shape (N, height, width, channels) or (N, height, width), "
            f"not {array.dtype} of shape {array.shape}"
        )
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] > 4:
        raise DataError(
            f"{path}: {key} of shape {array.shape} has its channels first: they come last here, "
            "so save it as x.transpose(0, 2, 3, 1)"
        )


def _labels(path: Path, split: str, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    labels, count = arrays[f"y_{split}"], len(arrays[f"x_{split}"])
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise DataError(
            f"{path}: y_{split} must be integers of shape ({count},), as x_{split} has {count} images, "
            f"not {labels.dtype} of shape {labels.shape}"
        )
    if labels.min() < 0:
        raise DataError(f"{path}: y_{split} must count classes from 0, but holds {labels.min()}")
    if labels.max() > np.iinfo(np.int64).max:
        raise DataError(f"{path}: y_{split} holds {labels.max()}, which is no 64-bit integer")
    return labels.astype(np.int64)


def _occurring(
    path: Path, labels: Mapping[str, NDArray[np.int64]]
) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """The labels as indices of those that occur, and these as the classes."""
    found = np.unique(np.concatenate([*labels.values()]))
    if found[-1] != len(found) - 1:
        shown = ", ".join(map(str, found[:_SHOWN])) + (", …" if len(found) > _SHOWN else "")
        logging.getLogger("framework").warning(
            "%s: the labels are not 0 to %d; the classes are the %d that occur: %s",
            *(path, len(found) - 1, len(found), shown),
        )
    indices = {key: np.searchsorted(found, values).astype(np.int64) for key, values in labels.items()}
    return indices, tuple(map(str, found))


def _names(path: Path, names: NDArray[Any], labels: Mapping[str, NDArray[np.int64]]) -> tuple[str, ...]:
    if not isinstance(names, np.ndarray) or names.ndim != 1 or names.dtype.kind not in "SUiu":
        found = f"{names.dtype} of shape {names.shape}" if isinstance(names, np.ndarray) else "no array"
        raise DataError(f"{path}: classes must be names of shape (classes,), not {found}")
    for key, values in labels.items():
        if values.max() >= len(names):
            raise DataError(f"{path}: y_{key} holds {values.max()}, but classes names only 0 to {len(names) - 1}")
    try:
        return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in names.tolist())
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: classes must be text, or bytes in UTF-8: {error}") from error
