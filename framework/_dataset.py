"""The class `Dataset`, which dataset plugins return."""

from dataclasses import dataclass
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from framework._errors import DataError


@dataclass(frozen=True)
class Dataset:
    """Labelled images, whole, as they lie in memory.

    Arrays, not tensors: Ray's object store hands arrays to every trial of a machine without a copy.

    Attributes:
        train_images: uint8, (N, channels, height, width), values 0-255.
        train_labels: int64, (N,), values in ``range(len(classes))``.
        test_images: as ``train_images``; read once per trial, at its end.
        test_labels: as ``train_labels``.
        classes: the names of the classes, in the order of their labels; each of its own.

    Raises:
        DataError: an array has another dtype or shape, or is empty, or a label has no class, or names are no names.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            if images.dtype != np.uint8 or images.ndim != 4:
                raise DataError(
                    f"{split}_images must be uint8 of shape (N, channels, height, width), "
                    f"not {images.dtype} of shape {images.shape}"
                )
            if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
                raise DataError(
                    f"{split}_labels must be int64 of shape ({len(images)},), "
                    f"not {labels.dtype} of shape {labels.shape}"
                )
            if not images.size:
                raise DataError(f"{split}_images is empty: its shape is {images.shape}")
            if labels.min() < 0 or labels.max() >= len(self.classes):
                raise DataError(
                    f"{split}_labels has values {labels.min()}..{labels.max()}, "
                    f"but there are {len(self.classes)} classes"
                )
        for name in self.classes:
            # A name ends up in files, which take no lone surrogates (of a folder's name in another coding than UTF-8).
            if not isinstance(name, str) or not name or any(category(c) in ("Cc", "Cs") for c in name):
                raise DataError(f"a class must be named by text without control characters, not by {name!r}")
        if len({*self.classes}) < len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise DataError(f"two classes are called {twice!r}")
        if self.test_images.shape[1:] != self.train_images.shape[1:]:
            sizes = ["×".join(map(str, images.shape[1:])) for images in (self.test_images, self.train_images)]
            raise DataError(f"test_images are {sizes[0]}, but train_images are {sizes[1]}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width
