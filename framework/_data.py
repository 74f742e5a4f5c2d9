"""A trial's data on its device, in splits, and where it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

from framework._batches import Augmentation, Batches, ImageBatches
from framework._errors import StageError
from framework._task import Classification, Task

SplitName: TypeAlias = Literal["train", "validation", "test"]


class Data(Protocol):
    """A trial's data as its stages see it: they take batches, and need not know what these are made of."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes, as many as the network has outputs."""

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The names of the splits that there are: ``train``, ``test``, and ``validation`` if one is held out."""

    @property
    def task(self) -> Task:
        """What the outputs of a network mean on this data."""

    def batches(self, split: SplitName, size: int, *, seed: int | None = None, channels_last: bool = False) -> Batches:
        """Give batches of a split, on the trial's device; see `Trial.batches`.

        Args:
            split: its name.
            size: inputs per batch.
            seed: of order and augmentation; None: always the same order, unaugmented.
            channels_last: memory format of the inputs, where they have one.

        Raises:
            StageError: there is no such split.
        """


class Inputs(Protocol):
    """What a model is made for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes, as many as the network has outputs."""

    @property
    def notes(self) -> Mapping[str, Any]:
        """What runs show of the data besides, by name, such as ``data.mean``."""


class Source(Inputs, Protocol):
    """A dataset that gives batches of its own, instead of arrays of images as `framework.Dataset` has them.

    It is made once for all trials of a machine, and sent to the processes that they run in: it holds where the data
    is rather than the data. Holding a validation set out is up to it.
    """

    def open(self, device: torch.device, augment: tuple[Augmentation, ...]) -> Data:
        """Give the data to a trial.

        Args:
            device: where its batches are wanted.
            augment: what a spec asks for to be done to training batches.
        """


class Split(NamedTuple):
    """Images and labels of one split, on the trial's device.

    Attributes:
        images: uint8, (N, channels, height, width).
        labels: int64, (N,).
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class ImageData:
    """Labelled images, whole, on a trial's device.

    Attributes:
        train: what the model is trained on.
        validation: held out of the training set with a fixed seed; None where a spec asks for none.
        test: read once per trial, at its end.
        classes: names of the classes.
        mean: float32, (channels,), of the training images scaled to [0, 1].
        std: as ``mean``.
        augment: what is done to training batches: any of ``crop``, ``flip``, ``cutout``.
    """

    train: Split
    validation: Split | None
    test: Split
    classes: tuple[str, ...]
    mean: Tensor
    std: Tensor
    augment: tuple[Augmentation, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The names of the splits that there are."""
        return ("train", "test") if self.validation is None else ("train", "validation", "test")

    @property
    def task(self) -> Task:
        """What the outputs of a network mean on this data."""
        return Classification(self.classes)

    def batches(self, split: SplitName, size: int, *, seed: int | None = None, channels_last: bool = False) -> Batches:
        """Give batches of images; see `Data.batches`."""
        found = getattr(self, split)
        if found is None:
            raise StageError("there is no validation set: hold one out with data: {validation: 0.1}")
        augment = () if seed is None else self.augment
        images, labels = found
        return ImageBatches(
            images,
            labels,
            self.mean,
            self.std,
            batch_size=size,
            augment=augment,
            seed=seed,
            channels_last=channels_last,
        )
