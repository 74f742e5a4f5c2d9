"""A trial's data on its device, in splits."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from torch import Tensor

from framework._batches import Augmentation, Batches, ImageBatches
from framework._errors import StageError
from framework._task import Classification, Task

SplitName: TypeAlias = Literal["train", "validation", "test"]


class Split(NamedTuple):
    """Images and labels of one split, on the trial's device.

    Attributes:
        images: uint8, (N, channels, height, width).
        labels: int64, (N,).
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Data:
    """A trial's data, on its device.

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
        """Batches of a split; see `Trial.batches`.

        Args:
            split: its name.
            size: images per batch.
            seed: of order and augmentation; None: the given order, unaugmented.
            channels_last: memory format of the inputs.

        Raises:
            StageError: there is no validation set.
        """
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
