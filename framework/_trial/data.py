"""Turn a dataset plugin's arrays into tensors on a trial's device."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from framework._batches import Augmentation
from framework._component import Catalog, Component, build
from framework._data import Arrays, ImageData, Source, Split, SplitName, tensor_of
from framework._dataset import Dataset
from framework._errors import DataError, PluginError, StageError
from framework._measures import measured_by
from framework._task import Classification, Metric, Task

# The same images are held out in every trial, whatever its seed: replicates are compared on the same ones.
_SPLIT_SEED = 0
_SPLITS: tuple[SplitName, SplitName] = ("validation", "train")
_Arrays: TypeAlias = tuple[NDArray[Any], NDArray[Any]]


@dataclass(frozen=True)
class Images:
    """A dataset with its validation images held out, once for all trials of a machine.

    Attributes:
        splits: images and labels of ``train``, ``validation`` (may be missing) and ``test``, as in `Dataset`.
        task: has the names of the classes.
        mean: (channels,), of the training images scaled to [0, 1].
        std: as ``mean``.
    """

    splits: Mapping[SplitName, tuple[NDArray[np.uint8], NDArray[np.int64]]]
    task: Classification
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of one image."""
        return self.splits["train"][0].shape[1:]

    @property
    def dtype(self) -> torch.dtype:
        """Of batches."""
        return torch.float32

    @property
    def notes(self) -> Mapping[str, Any]:
        """What images are normalised by: whoever loads a logged model has to know."""
        return {"data.mean": self.mean, "data.std": self.std}

    def open(self, device: torch.device, augment: tuple[Augmentation, ...]) -> ImageData:
        """Put the arrays on a device; on the CPU they are used where they lie."""
        splits = {
            name: Split(tensor_of(images).to(device), tensor_of(labels).to(device))
            for name, (images, labels) in self.splits.items()
        }
        return ImageData(
            train=splits["train"],
            validation=splits.get("validation"),
            test=splits["test"],
            mean=torch.tensor(self.mean),
            std=torch.tensor(self.std),
            augment=augment,
        )


def prepare(plan: Mapping[str, Any], catalog: Catalog) -> Source:
    """Load a planned dataset, and hold its validation set out, unless it does so itself.

    Args:
        plan: the ``data`` of a `TrialPlan`.
        catalog: where the dataset is looked up.

    Raises:
        DataError: it cannot be read or downloaded, or too few inputs are left to train on.
        PluginError: it is neither a `Dataset` nor a `Source`.
    """
    dataset = build(catalog, "dataset", plan["dataset"])(validation=plan["validation"])
    if not isinstance(dataset, Dataset):
        name, kind = plan["dataset"]["name"], type(dataset).__name__
        missing = [part for part in ("open", "shape", "dtype", "task", "notes") if not hasattr(dataset, part)]
        if missing:
            lacking = f"not a {kind}" if "open" in missing else f"and a {kind} has no {missing[0]}"
            raise PluginError(f"dataset {name!r} must give a framework.Dataset or a framework.Source, {lacking}")
        source: Source = dataset
        if isinstance(source, Arrays) and "validation" not in source.splits:
            return replace(source, splits={**source.splits, **_held_out(*source.splits["train"], plan["validation"])})
        return source
    splits = _held_out(dataset.train_images, dataset.train_labels, plan["validation"])
    splits["test"] = (dataset.test_images, dataset.test_labels)
    mean, std = _statistics(splits["train"][0])
    return Images(splits, Classification(dataset.classes), mean, std)


def task_of(source: Source, metrics: Mapping[str, Mapping[str, Any]], catalog: Catalog) -> Task:
    """Return what a trial's outputs mean, measured by planned metrics if there are any.

    Args:
        source: the trial's data.
        metrics: those of a `TrialPlan`.
        catalog: where metrics are looked up.
    """
    makers = {name: _maker(build(catalog, "metric", metric), source.task) for name, metric in metrics.items()}
    return measured_by(source.task, makers) if makers else source.task


def _maker(metric: Component, task: Task) -> Callable[[Mapping[str, Any]], Metric]:
    asked = inspect.signature(metric.entry.factory).parameters
    needed = [name for name in metric.entry.inputs if asked[name].default is inspect.Parameter.empty]

    def make(options: Mapping[str, Any]) -> Metric:
        if lacking := {*needed} - {*options}:
            raise StageError(
                f"metric {metric.name!r} is made with {min(lacking)}, which there is none of for a "
                f"{type(task).__name__}: name one for this task"
            )
        made: Metric = metric(**options)
        return made

    return make


def _held_out(inputs: NDArray[Any], targets: NDArray[Any], fraction: float) -> dict[SplitName, _Arrays]:
    """Divide a training set into ``train`` and ``validation``, by classes if there is one for each input.

    Raises:
        DataError: nothing is left of one of them.
    """
    count, held_out = len(inputs), round(fraction * len(inputs))
    if held_out >= count or (fraction and not held_out):
        raise DataError(
            f"validation: {fraction:g} of {count} training inputs leaves {count - held_out} to train on "
            f"and {held_out} to validate on"
        )
    if not held_out:
        return {"train": (inputs, targets)}
    classes = targets if targets.ndim == 1 and targets.dtype.kind == "i" else np.zeros(count, np.int64)
    chosen = zip(_SPLITS, _stratified(classes, held_out), strict=True)
    return {name: (inputs[index], targets[index]) for name, index in chosen}


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
