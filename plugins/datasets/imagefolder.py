"""Images in folders that are named after their classes."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import DirectoryPath

from framework import DataError, Dataset, Interval, nearest

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}


class _Files(NamedTuple):
    paths: list[Path]
    labels: list[int]


def imagefolder(root: DirectoryPath, size: Annotated[int, Interval(ge=1)]) -> Dataset:
    """Image files in ``train/CLASS/`` and ``test/CLASS/`` (or ``val/CLASS/``), in RGB.

    Args:
        root: the folder that holds ``train`` and ``test``.
        size: in pixels: the shorter side is resized to this, then the centre is cropped to ``size × size``.

    Raises:
        DataError: a folder or its images are missing, or a file cannot be read as an image.

    Example:
        data: {name: imagefolder, root: images, size: 64, validation: 0.1}
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
    train_files, test_files = _find(train, classes), _find(test, classes)
    return Dataset(
        train_images=_decode(train_files.paths, size),
        train_labels=np.asarray(train_files.labels, dtype=np.int64),
        test_images=_decode(test_files.paths, size),
        test_labels=np.asarray(test_files.labels, dtype=np.int64),
        classes=tuple(classes),
    )


def _is_class(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".")


def _find(split: Path, classes: Sequence[str]) -> _Files:
    found = _Files([], [])
    for folder in sorted(filter(_is_class, split.iterdir())):
        if folder.name not in classes:
            raise DataError(f"{folder}: train has no class {folder.name!r} ({nearest(folder.name, classes)})")
        images = sorted(
            file for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".")
        )
        if not images:
            raise DataError(f"{folder} holds no image ({', '.join(sorted(_SUFFIXES))})")
        found.paths.extend(images)
        found.labels.extend([classes.index(folder.name)] * len(images))
    if not found.paths:
        raise DataError(f"{split} has no folders: images belong in {split.name}/CLASS/")
    return found


def _decode(files: Sequence[Path], size: int) -> NDArray[np.uint8]:
    """All files as uint8, (N, 3, size, size)."""
    images = np.empty((len(files), 3, size, size), dtype=np.uint8)

    def decode(index: int) -> None:
        images[index] = _image(files[index], size).transpose(2, 0, 1)

    # Pillow decodes and resizes without Python's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(decode, range(len(files))):
            pass
    return images


def _image(file: Path, size: int) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises the last for a damaged PNG
        raise DataError(f"{file} cannot be read as an image: {error}") from error
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)))
