"""The datasets that torchvision downloads."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from framework import DataError, Dataset
from framework_plugins.download import FAILURES, one_at_a_time, reason


class _Source(NamedTuple):
    """A dataset of torchvision: its class there, and the folder under ``root`` that it is unpacked into."""

    name: str
    cls: str
    folder: str


def cifar10(root: Path = Path("data")) -> Dataset:
    """CIFAR-10 (Krizhevsky 2009): photographs of 3×32×32 in 10 classes, 50,000 to train on and 10,000 to test on.

    It is downloaded once (170 MB).

    Args:
        root: the folder that it is kept in.

    Example:
        data: {name: cifar10, root: data, validation: 0.1, augment: [crop, flip]}
    """
    return _load(_Source("cifar10", "CIFAR10", "cifar-10-batches-py"), root)


def cifar100(root: Path = Path("data")) -> Dataset:
    """CIFAR-100 (Krizhevsky 2009): photographs of 3×32×32 in 100 classes, 50,000 to train on and 10,000 to test on.

    It is downloaded once (169 MB).

    Args:
        root: the folder that it is kept in.

    Example:
        data: {name: cifar100, root: data, validation: 0.1, augment: [crop, flip]}
    """
    return _load(_Source("cifar100", "CIFAR100", "cifar-100-python"), root)


def mnist(root: Path = Path("data")) -> Dataset:
    """MNIST (LeCun et al. 1998): handwritten digits of 1×28×28, 60,000 to train on and 10,000 to test on.

    It is downloaded once (12 MB).

    Args:
        root: the folder that it is kept in.

    Example:
        data: {name: mnist, root: data, validation: 0.1}
    """
    return _load(_Source("mnist", "MNIST", "MNIST/raw"), root)


def fashion_mnist(root: Path = Path("data")) -> Dataset:
    """Fashion-MNIST (Xiao et al. 2017, arXiv:1708.07747): clothes of 1×28×28, 60,000 to train on and 10,000 to test on.

    It is downloaded once (31 MB), and has 10 classes.

    Args:
        root: the folder that it is kept in.

    Example:
        data: {name: fashion_mnist, root: data, validation: 0.1}
    """
    return _load(_Source("fashion_mnist", "FashionMNIST", "FashionMNIST/raw"), root)


def _load(source: _Source, root: Path) -> Dataset:
    from torchvision import datasets

    cls = getattr(datasets, source.cls)
    try:
        try:
            train, test = _read(cls, root, download=False)
        except RuntimeError:  # not there, or not whole
            with one_at_a_time(root):
                train, test = _read(cls, root, download=True)
        return Dataset(
            train_images=_images(train.data),
            train_labels=np.asarray(train.targets, dtype=np.int64),
            test_images=_images(test.data),
            test_labels=np.asarray(test.targets, dtype=np.int64),
            classes=tuple(train.classes),
        )
    except Exception as error:  # a damaged file makes torchvision raise anything at all
        raise DataError(_explained(source, cls, root, error)) from error


def _read(cls: Any, root: Path, *, download: bool) -> tuple[Any, Any]:
    return cls(root, train=True, download=download), cls(root, train=False, download=download)


def _images(data: Any) -> NDArray[np.uint8]:
    array = np.asarray(data)
    if array.ndim == 3:
        array = array[..., np.newaxis]
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2))


def _explained(source: _Source, cls: Any, root: Path, error: Exception) -> str:
    folder = root / source.folder
    # torchvision's own words when the download fails, or brings another file than the expected one.
    fetching = isinstance(error, FAILURES) or str(error).startswith(("Error downloading", "File not found"))
    if not fetching:
        return f"{source.name} in {folder} is damaged ({reason(error)}): delete that folder, and it is downloaded again"
    if hasattr(cls, "tgz_md5"):
        url, files, place = cls.url, cls.filename, root
    else:
        url, files, place = cls.mirrors[0], ", ".join(name for name, _ in cls.resources), folder
    why = reason(error).replace("File not found or corrupted", "what arrived is damaged")
    state = "is incomplete or damaged in" if folder.is_dir() and any(folder.iterdir()) else "is not in"
    return (
        f"{source.name} {state} {folder}, and cannot be downloaded from {url} ({why}): "
        f"put {files} into {place}, or use another dataset, such as --set data.name=digits"
    )
