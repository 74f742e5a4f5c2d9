"""Images in folders that are named after their classes."""

import logging
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import DirectoryPath

from framework import DataError, Dataset, Interval, nearest
from framework_plugins.datasets.pictures import pixels
from framework_plugins.datasets.streamed import Loader, StreamedImages, streamed

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True)
class _Files:
    """The images of a split: `framework_plugins.datasets.streamed.Images`.

    The files' names are one array: a list of a million would be copied bit by bit into every worker, as each use of
    an object of Python writes to it.
    """

    root: Path
    size: int
    names: NDArray[np.bytes_]
    labels: NDArray[np.int64]

    def read(self, index: int, *, whole: bool) -> NDArray[np.uint8]:
        return _read(self.file(index), None if whole else self.size)[0]

    def name(self, index: int) -> str:
        return str(self.file(index))

    def only(self, chosen: NDArray[np.int64]) -> "_Files":
        return replace(self, names=self.names[chosen], labels=self.labels[chosen])

    def file(self, index: int) -> Path:
        return self.root / os.fsdecode(self.names[index])


def imagefolder(
    root: DirectoryPath, size: Annotated[int, Interval(ge=1)], loader: Loader | None = None, validation: float = 0.0
) -> Dataset | StreamedImages:
    """Image files in ``train/CLASS/`` and ``test/CLASS/`` (or ``val/CLASS/``), in RGB.

    Images are turned as their EXIF data says, transparent pixels are laid on white, of 16-bit images the upper 8 bits
    are taken, and of animated ones the first frame. Hidden files and folders (``.name``) are passed over, and links to
    folders inside a class.

    Images are decoded once and held in memory; or, with a ``loader``, when a batch needs them: then they may be more
    than memory holds, training images are transformed anew in every pass, and all are normalised by mean and standard
    deviation of 512 training images, which the run shows as ``data.mean`` and ``data.std``. In keys, the files count by
    their names, sizes and times of change, as reading all would take long.

    Args:
        root: the folder that holds ``train`` and ``test``.
        size: in pixels: the largest square at the centre is taken, and resized to ``size × size``. With a loader,
            its transforms take the place of that where there are any.
        loader: how images are read when they are needed; null reads all at once.
        validation: the fraction of the training set to hold out.

    Raises:
        DataError: a folder or its images are missing, a file cannot be read as an image of 8 or 16 bits, or they do
            not fit into memory.

    Example:
        data:
          name: imagefolder
          root: images
          size: 64
          loader: {workers: 4, transforms: [{name: RandomResizedCrop, size: 64}, RandAugment], cutmix: 1}
    """
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder")
    train = root / "train"
    test = root / "test" if (root / "test").is_dir() else root / "val"
    for split, names in ((train, "train"), (test, "test or val")):
        if not split.is_dir():
            raise DataError(f"{root} has no folder {names}: images belong in train/CLASS/ and test/CLASS/")
    classes = sorted(folder.name for folder in train.iterdir() if _is_class(folder))
    if not classes:
        raise DataError(f"{train} has no folders: images belong in train/CLASS/")
    try:
        found = [_find(split, classes, size) for split in (train, test)]
    except OSError as error:
        raise DataError(f"{root} cannot be read: {error}") from error
    if loader is not None:
        return streamed(root, *found, classes, loader, validation)
    images = [_decode(files) for files in found]
    return Dataset(images[0], found[0].labels, images[1], found[1].labels, tuple(classes))


def _is_class(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".")


def _find(split: Path, classes: Sequence[str], size: int) -> _Files:
    names, counts = [], dict.fromkeys(classes, 0)
    for folder in sorted(filter(_is_class, split.iterdir())):
        if folder.name not in classes:
            raise DataError(f"{folder}: train has no class {folder.name!r} ({nearest(folder.name, classes)})")
        images = sorted(
            file
            for file in folder.rglob("*")
            if file.suffix.lower() in _SUFFIXES
            and not any(part.startswith(".") for part in file.relative_to(folder).parts)
            and not file.is_dir()
        )
        if not images:
            raise DataError(f"{folder} holds no image ({', '.join(sorted(_SUFFIXES))})")
        names += [os.fsencode(file.relative_to(split)) for file in images]
        counts[folder.name] = len(images)
    if not names:
        raise DataError(f"{split} has no folders: images belong in {split.name}/CLASS/")
    labels = np.repeat(np.arange(len(classes)), [*counts.values()])
    return _Files(split, size, np.array(names), labels)


def _decode(files: _Files) -> NDArray[np.uint8]:
    """All files as uint8, (N, 3, size, size)."""
    from PIL import Image

    count, size = len(files.labels), files.size
    try:
        images = np.empty((count, 3, size, size), dtype=np.uint8)
    except (MemoryError, ValueError) as error:
        raise DataError(
            f"{count} images of {size}×{size} do not fit into memory: take a smaller size, or a loader, which reads "
            "them as they are needed: loader: {workers: 2}"
        ) from error

    def decode(index: int) -> bool:
        images[index], animated = _read(files.file(index), size)
        return animated

    # Pillow decodes and resizes without Python's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        animated = [index for index, moves in enumerate(pool.map(decode, range(count))) if moves]
    if animated:
        logging.getLogger("framework").warning(
            "%d of the images have several frames, of which the first is taken, such as %s",
            *(len(animated), files.file(animated[0])),
        )
    return images


def _read(file: Path, size: int | None) -> tuple[NDArray[np.uint8], bool]:
    """An image as `pixels` gives it, and whether it has more frames than this one."""
    if file.exists() and not file.is_file():
        raise DataError(f"{file} is no file")  # reading from a pipe would wait for ever
    try:
        return pixels(file, size)
    except MemoryError as error:
        raise DataError(f"{file} does not fit into memory as an image") from error
    except Exception as error:  # a damaged file makes Pillow raise anything at all
        raise DataError(f"{file} cannot be read as an image: {error}") from error
