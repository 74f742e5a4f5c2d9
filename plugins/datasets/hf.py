"""Data sets of images in the formats of the library `datasets` (Hugging Face)."""

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, DirectoryPath, Field

from framework import DataError, Dataset, Interval, nearest
from framework_plugins.datasets.pictures import Mode, pixels
from framework_plugins.download import reason

_SAVED = ("dataset_dict.json", "state.json")  # what save_to_disk leaves


def _installed(path: str | Path) -> str | Path:
    if find_spec("datasets") is None:
        raise ValueError("the dataset hf needs the package datasets: pip install 'framework[hf]'")
    return path


# A folder counts by what is in it; anything else is a name on the hub.
Place = Annotated[DirectoryPath | str, Field(union_mode="left_to_right"), AfterValidator(_installed)]


def hf(
    path: Place,
    image: str = "image",
    label: str = "label",
    size: Annotated[int, Interval(ge=1)] | None = None,
    mode: Mode = "RGB",
    train: str = "train",
    test: str = "test",
    config: str | None = None,
    revision: str | None = None,
) -> Dataset:
    """Images of the Hugging Face hub, or of a folder in one of the formats of the library ``datasets``.

    It needs the package datasets: ``pip install 'framework[hf]'``. A data set of the hub is downloaded once, into the
    cache of ``datasets`` (``HF_HOME``); code that comes with a data set is never run. Images are decoded as those of
    ``imagefolder`` are.

    Args:
        path: a data set's name on the hub, such as ``ylecun/mnist``; or a folder: one that ``DatasetDict.save_to_disk``
            has written, or one that ``datasets.load_dataset`` reads, such as image files in ``train/CLASS/`` and
            ``test/CLASS/``, or Parquet files.
        image: the column of images.
        label: the column of classes: ``ClassLabel``, integers or text. The classes of the latter two are the values
            that occur.
        size: in pixels: the largest square at the centre is taken, and resized to ``size × size``; by default images
            are taken as they are, and must be of one size.
        mode: ``RGB`` for three channels, ``L`` for one, of grey.
        train: the split to train on.
        test: the split to test on.
        config: which configuration of a data set that has several.
        revision: the version on the hub: a tag, or a commit, for results that can be reproduced.

    Raises:
        DataError: it cannot be had, a split or column is missing, or an image cannot be read.

    Example:
        data: {name: hf, path: ylecun/mnist, mode: L, validation: 0.1}
    """
    splits = _load(path, config, revision)
    arrays: dict[str, NDArray[np.uint8]] = {}
    found: dict[str, NDArray[Any]] = {}
    names: Sequence[str] = ()
    for part, split in (("train", train), ("test", test)):
        if split not in splits:
            raise DataError(f"{path} has no split {split!r} ({nearest(split, splits)}): name it as {part}: …")
        rows, where = splits[split], f"{path}, split {split}"
        for column in (image, label):
            if column not in rows.column_names:
                raise DataError(f"{where} has no column {column!r} ({nearest(column, rows.column_names)})")
        names = getattr(rows.features[label], "names", None) or ()
        arrays[part] = _images(rows, image, where, size, mode)
        found[part] = _labels(rows, label, where)
    if not names:
        values = sorted({*found["train"].tolist(), *found["test"].tolist()})
        found = {part: np.searchsorted(values, labels).astype(np.int64) for part, labels in found.items()}
        names = [str(value) for value in values]
    return Dataset(arrays["train"], found["train"], arrays["test"], found["test"], classes=tuple(names))


def _load(path: str | Path, config: str | None, revision: str | None) -> Mapping[str, Any]:
    """All splits by name."""
    import datasets

    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        if isinstance(path, Path) and any((path / name).is_file() for name in _SAVED):
            found = datasets.load_from_disk(str(path))
        else:
            found = datasets.load_dataset(str(path), config, revision=revision)
    except Exception as error:  # what the network, the disk and damaged files make the library raise
        if isinstance(path, Path):
            raise DataError(f"{path} cannot be read by datasets: {reason(error)}") from error
        raise DataError(
            f"{path!r} is neither a folder, nor in the cache of datasets, and cannot be downloaded ({reason(error)}): "
            "where there is a network, save it with load_dataset(…).save_to_disk(FOLDER), and name that folder as path"
        ) from error
    finally:
        if shown:
            datasets.enable_progress_bars()
    if not isinstance(found, Mapping):
        raise DataError(f"{path} is a single split: save a DatasetDict of train and test")
    return found


def _images(rows: Any, column: str, where: str, size: int | None, mode: Mode) -> NDArray[np.uint8]:
    """A column as uint8, (N, channels, height, width)."""
    import datasets
    from PIL import Image

    if not isinstance(rows.features[column], datasets.Image):
        raise DataError(f"{where}: column {column!r} must hold images, not {type(rows.features[column]).__name__}")
    images: NDArray[np.uint8] | None = None
    files = rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for i, row in enumerate(files):
            try:
                content = row[column]["bytes"]
                found, _ = pixels(Path(row[column]["path"]) if content is None else BytesIO(content), size, mode)
            except Exception as error:  # a damaged file makes Pillow raise anything at all
                raise DataError(f"{where}: row {i} cannot be read as an image: {error}") from error
            if images is None:
                images = np.empty((len(files), *found.shape), dtype=np.uint8)
            if found.shape != images.shape[1:]:
                one, other = ("×".join(map(str, shape[1:])) for shape in (images.shape[1:], found.shape))
                raise DataError(f"{where}: image 0 is {one}, and image {i} is {other}: resize them with size: …")
            images[i] = found
    if images is None:
        raise DataError(f"{where} has no rows")
    return images


def _labels(rows: Any, column: str, where: str) -> NDArray[Any]:
    values = rows[column][:]
    if not all(isinstance(value, int | str) for value in values):
        raise DataError(f"{where}: column {column!r} must hold ClassLabel, integers or text, one in each row")
    if len({type(value) for value in values}) > 1 or (labels := np.asarray(values)).dtype.kind not in "iUb":
        raise DataError(f"{where}: column {column!r} must hold labels of one type")
    if hasattr(rows.features[column], "names") and labels.min() < 0:
        raise DataError(f"{where}: column {column!r} has rows without a label (-1): take another split")
    return labels
