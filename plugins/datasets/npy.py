"""Images in NumPy files, which are mapped into memory instead of being read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import DirectoryPath

from framework import DataError
from framework_plugins.datasets.npz import channels_first, labels_of
from framework_plugins.datasets.streamed import Loader, StreamedImages, streamed


def npy(root: DirectoryPath, loader: Loader = Loader(), validation: float = 0.0) -> StreamedImages:  # noqa: B008
    """Images in NumPy files that may be larger than memory: each is read from the file when a batch needs it.

    The folder holds ``x_train.npy`` and ``x_test.npy``, uint8 of shape (N, height, width, channels) or (N, height,
    width); ``y_train.npy`` and ``y_test.npy``, integers >= 0 of shape (N,); and, if the classes have names, these in
    ``classes.npy``, as ``npz`` has them. Labels are held in memory. Images are normalised by mean and standard
    deviation of 512 training images, which the run shows as ``data.mean`` and ``data.std``. In keys, the files count by
    their names, sizes and times of change, as reading all would take long.

    Args:
        root: the folder.
        loader: how images are read.
        validation: the fraction of the training set to hold out.

    Raises:
        DataError: a file is missing or cannot be mapped, or its array is of another dtype or shape.

    Example:
        data: {name: npy, root: arrays, loader: {workers: 4, transforms: [RandomHorizontalFlip]}}
    """
    arrays = {key: _mapped(root / f"{key}.npy") for key in ("x_train", "y_train", "x_test", "y_test")}
    if (root / "classes.npy").exists():
        arrays["classes"] = _mapped(root / "classes.npy")
    labels, classes = labels_of(root, arrays)
    train, test = (_Rows.of(root / f"x_{split}.npy", arrays, labels, split) for split in ("train", "test"))
    return streamed(root, train, test, classes, loader, validation)


@dataclass(frozen=True)
class _Rows:
    """The images of a file: `framework_plugins.datasets.streamed.Images`."""

    path: Path
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    labels: NDArray[np.int64]
    rows: NDArray[np.int64]

    @classmethod
    def of(
        cls, path: Path, arrays: Mapping[str, NDArray[Any]], labels: Mapping[str, NDArray[np.int64]], split: str
    ) -> "_Rows":
        array: Any = arrays[f"x_{split}"]
        return cls(path, array.dtype, array.offset, array.shape, labels[split], np.arange(len(array)))

    def read(self, index: int, *, whole: bool) -> NDArray[np.uint8]:
        # Mapped for each image, as a map that stays would keep in memory whatever has been read through it.
        images = np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        return channels_first(images[self.rows[index]][np.newaxis])[0]

    def name(self, index: int) -> str:
        return f"{self.path}, image {self.rows[index]}"

    def only(self, chosen: NDArray[np.int64]) -> "_Rows":
        return replace(self, labels=self.labels[chosen], rows=self.rows[chosen])


def _mapped(path: Path) -> NDArray[Any]:
    try:
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"there is no {path}: a dataset npy has x_train, y_train, x_test and y_test") from None
    except Exception as error:  # a damaged file makes NumPy raise anything at all
        raise DataError(f"{path} cannot be mapped as an .npy file: {error}") from error
    if not isinstance(array, np.memmap):
        array.close()
        raise DataError(f"{path} is an archive, which cannot be mapped: save its arrays one by one with numpy.save")
    if not array.flags.c_contiguous:
        raise DataError(f"{path} is in Fortran order, of which no image can be read alone: save it in C order")
    mapped: NDArray[Any] = array
    return mapped
