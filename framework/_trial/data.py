"""Turn a dataset plugin's arrays into tensors on a trial's device."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from framework._batches import Augmentation
from framework._component import Catalog, build
from framework._data import ImageData, Source, Split
from framework._dataset import Dataset
from framework._errors import DataError, PluginError

# The same images are held out in every trial, whatever its seed: replicates are compared on the same ones.
_SPLIT_SEED = 0


@dataclass(frozen=True)
class Arrays:
    """A dataset with its validation images held out, once for all trials of a machine.

    Attributes:
        splits: images and labels of ``train``, ``validation`` (may be missing) and ``test``, as in `Dataset`.
        classes: names of the classes.
        mean: (channels,), of the training images scaled to [0, 1].
        std: as ``mean``.
    """

    splits: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.int64]]]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of one image."""
        return self.splits["train"][0].shape[1:]

    @property
    def notes(self) -> Mapping[str, Any]:
        """What images are normalised by: whoever loads a logged model has to know."""
        return {"data.mean": self.mean, "data.std": self.std}

    def open(self, device: torch.device, augment: tuple[Augmentation, ...]) -> ImageData:
        """Put the arrays on a device; on the CPU they are used where they lie."""
        splits = {
            name: Split(_tensor(images).to(device), _tensor(labels).to(device))
            for name, (images, labels) in self.splits.items()
        }
        return ImageData(
            train=splits["train"],
            validation=splits.get("validation"),
            test=splits["test"],
            classes=self.classes,
            mean=torch.tensor(self.mean),
            std=torch.tensor(self.std),
            augment=augment,
        )


def prepare(plan: Mapping[str, Any], catalog: Catalog) -> Source:
    """Load a planned dataset, and hold its validation images out if it is a `Dataset`.

    Args:
        plan: the ``data`` of a `TrialPlan`.
        catalog: where the dataset is looked up.

    Raises:
        DataError: it cannot be read or downloaded, or too few images are left to train on.
        PluginError: it is neither a `Dataset` nor a `Source`.
    """
    dataset = build(catalog, "dataset", plan["dataset"])(validation=plan["validation"])
    if not isinstance(dataset, Dataset):
        if not callable(getattr(dataset, "open", None)):
            name = plan["dataset"]["name"]
            raise PluginError(
                f"dataset {name!r} must give a framework.Dataset or a framework.Source, not a {type(dataset).__name__}"
            )
        source: Source = dataset
        return source
    count = len(dataset.train_images)
    held_out = round(plan["validation"] * count)
    if held_out >= count or (plan["validation"] and not held_out):
        raise DataError(
            f"validation: {plan['validation']:g} of {count} training images leaves {count - held_out} to train on "
            f"and {held_out} to validate on"
        )
    splits = {"test": (dataset.test_images, dataset.test_labels)}
    if held_out:
        for name, chosen in zip(("validation", "train"), _stratified(dataset.train_labels, held_out), strict=True):
            splits[name] = (dataset.train_images[chosen], dataset.train_labels[chosen])
    else:
        splits["train"] = (dataset.train_images, dataset.train_labels)
    mean, std = _statistics(splits["train"][0])
    return Arrays(splits, dataset.classes, mean, std)


def _stratified(labels: NDArray[np.int64], held_out: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hold so many out, of each class as large a part as of all; the largest remainders settle rounding.

    Returns:
        The indices of those held out, and of the rest, each in random order.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(_SPLIT_SEED)).numpy()
    _, classes, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    quotas, remainders = np.divmod(counts * held_out, len(labels))
    quotas[np.argsort(-remainders, kind="stable")[: held_out - quotas.sum()]] += 1
    by_class = np.argsort(classes, kind="stable")
    rank = np.empty_like(by_class)  # of an image among those of its class
    rank[by_class] = np.arange(len(labels)) - np.repeat(counts.cumsum() - counts, counts)
    held = rank < quotas[classes]
    return order[held], order[~held]


def _statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Compute mean and standard deviation of each channel, exactly, by counting the 256 values."""
    values = np.arange(256) / 255
    means, stds = [], []
    for channel in range(images.shape[1]):
        # In parts: counting needs eight bytes for each pixel.
        parts = np.array_split(images[:, channel], len(images) // 4096 + 1)
        counts = sum(np.bincount(part.ravel(), minlength=256) for part in parts)
        share = counts / images[:, channel].size
        mean = float(share @ values)
        means.append(mean)
        # An empty channel must not be divided by zero.
        stds.append(max(float(share @ (values - mean) ** 2) ** 0.5, 1 / 255))
    return tuple(means), tuple(stds)


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    with warnings.catch_warnings():
        # Ray's object store gives read-only arrays; nothing here writes to images or labels.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        tensor = torch.from_numpy(array)
    # Ray hands arrays on as they are counted. One that lies otherwise, were it only that a single channel has an odd
    # stride, is computed with in another order, and would give other results in this process.
    return tensor.flatten().view(tensor.shape)
