"""A trial's data on its device, in splits, and where it comes from."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framework._batches import Augmentation, Batches, ImageBatches, TensorBatches
from framework._errors import DataError, StageError
from framework._task import Task

SplitName: TypeAlias = Literal["train", "validation", "test"]
_NO_VALIDATION = "there is no validation set: hold one out with data: {validation: 0.1}"


class Data(Protocol):
    """A trial's data as its stages see it: they take batches, and need not know what these are made of."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""

    @property
    def dtype(self) -> torch.dtype:
        """Of inputs: ``torch.float32``, or ``torch.int64`` of tokens, which embeddings take."""

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The names of the splits that there are: ``train``, ``test``, and ``validation`` if one is held out."""

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
    def dtype(self) -> torch.dtype:
        """Of inputs: ``torch.float32``, or ``torch.int64`` of tokens, which embeddings take."""

    @property
    def task(self) -> Task:
        """What the targets are, and so what the outputs of a network mean; it names the outputs."""

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
        mean: float32, (channels,), of the training images scaled to [0, 1].
        std: as ``mean``.
        augment: what is done to training batches: any of ``crop``, ``flip``, ``cutout``.
    """

    train: Split
    validation: Split | None
    test: Split
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
    def dtype(self) -> torch.dtype:
        """Of batches."""
        return torch.float32

    def batches(self, split: SplitName, size: int, *, seed: int | None = None, channels_last: bool = False) -> Batches:
        """Give batches of images; see `Data.batches`."""
        found = getattr(self, split)
        if found is None:
            raise StageError(_NO_VALIDATION)
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


@dataclass(frozen=True)
class Arrays:
    """Inputs and targets of any shape for any task, whole, as they lie in memory: a `Source` of them as they are.

    What is held out for validation is taken out of ``train``, always the same, unless it is given.

    Attributes:
        splits: of ``train`` and ``test``, and of ``validation`` if the dataset holds it out itself, the inputs (N, …)
            and the targets (N, …). Inputs are given to networks as float32, or as int64 if they are integers, as tokens
            are. Targets are brought into the form that the task asks for.
        task: what the targets are.
        notes: what runs show of the data besides, by name.

    Raises:
        DataError: a split is missing or empty, its inputs and targets are not as many, inputs have several shapes, or
            the targets are none for the task.
    """

    splits: Mapping[SplitName, tuple[NDArray[Any], NDArray[Any]]]
    task: Task
    notes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if missing := {"train", "test"} - {*self.splits}:
            raise DataError(f"there is no split {min(missing)!r}: splits must have 'train' and 'test'")
        for name, (inputs, targets) in self.splits.items():
            if not len(inputs) or len(inputs) != len(targets):
                raise DataError(f"{name} has {len(inputs)} inputs and {len(targets)} targets")
            if inputs.dtype.kind not in "fiub":
                raise DataError(f"the inputs of {name} must be numbers, not {inputs.dtype}")
            if inputs.shape[1:] != self.shape:
                raise DataError(f"inputs of {name} have the shape {inputs.shape[1:]}, and those of train {self.shape}")
        made = {name: (_plain(inputs), self._targets(name, targets)) for name, (inputs, targets) in self.splits.items()}
        object.__setattr__(self, "splits", made)

    def _targets(self, name: str, targets: NDArray[Any]) -> NDArray[Any]:
        try:
            return self.task.targets(targets)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return self.splits["train"][0].shape[1:]

    @property
    def dtype(self) -> torch.dtype:
        """Of inputs."""
        return torch.int64 if self.splits["train"][0].dtype.kind == "i" else torch.float32

    def open(self, device: torch.device, augment: tuple[Augmentation, ...]) -> "ArrayData":
        """Put the arrays on a device; on the CPU they are used where they lie."""
        if augment:
            raise DataError(f"augment: {', '.join(augment)} is for images of a framework.Dataset: leave it out")
        splits = self.splits.items()
        return ArrayData({name: (tensor_of(x).to(device), tensor_of(y).to(device)) for name, (x, y) in splits})


@dataclass(frozen=True)
class ArrayData:
    """The `Data` of `Arrays`: inputs and targets of each split, on a trial's device."""

    tensors: Mapping[SplitName, tuple[Tensor, Tensor]]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input."""
        return tuple(self.tensors["train"][0].shape[1:])

    @property
    def dtype(self) -> torch.dtype:
        """Of inputs."""
        return self.tensors["train"][0].dtype

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The names of the splits that there are."""
        return tuple(self.tensors)

    def batches(self, split: SplitName, size: int, *, seed: int | None = None, channels_last: bool = False) -> Batches:
        """Give batches; see `Data.batches`."""
        if split not in self.tensors:
            raise StageError(_NO_VALIDATION)
        return TensorBatches(*self.tensors[split], batch_size=size, seed=seed)


def _plain(inputs: NDArray[Any]) -> NDArray[Any]:
    return inputs.astype(np.float32 if inputs.dtype.kind == "f" else np.int64, copy=False)


def tensor_of(array: NDArray[Any]) -> Tensor:
    """Return a tensor that lies where an array lies; nobody may write to it."""
    with warnings.catch_warnings():
        # Ray's object store gives read-only arrays; nothing writes to inputs or targets.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        tensor = torch.from_numpy(array)
    # Ray hands arrays on as they are counted. One that lies otherwise, were it only that a single channel has an odd
    # stride, is computed with in another order, and would give other results in this process.
    return tensor.flatten().view(tensor.shape)
