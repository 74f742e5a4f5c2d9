"""Images that are read as they are needed, instead of all at once into memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from framework import Classification, DataError, Interval, LoaderBatches, StageError, Transform, Unkeyed
from framework_plugins.datasets.held_out import divided

_MEASURED = 512  # images, of which mean and standard deviation are taken
_AUGMENTED = {"crop": "{name: RandomCrop, size: …, padding: …}", "flip": "RandomHorizontalFlip"}


@dataclass(frozen=True)
class Loader:
    """How images are read while a network trains.

    Attributes:
        workers: processes that read and transform images, beside the trial's own; with 0, that one does. The batches
            are the same with any number of them.
        prefetch: batches that each worker makes ahead.
        transforms: what is done to each training image, in this order. At the end all must be of one size.
        test_transforms: what is done to each image to validate and test on, instead of what the dataset says.
        mixup: alpha of mixup (Zhang et al. 2018, arXiv:1710.09412): each training batch is blended with itself in
            another order, by a share drawn from Beta(alpha, alpha), and so are its labels; 0 is without.
        cutmix: alpha of CutMix (Yun et al. 2019, arXiv:1905.04899), which pastes a rectangle instead; 0 is without.
            With both, one of them is drawn for each batch.
    """

    workers: Annotated[int, Interval(ge=0), Unkeyed()] = 2
    prefetch: Annotated[int, Interval(ge=1), Unkeyed()] = 2
    transforms: tuple[Transform, ...] = ()
    test_transforms: tuple[Transform, ...] = ()
    mixup: Annotated[float, Interval(ge=0)] = 0.0
    cutmix: Annotated[float, Interval(ge=0)] = 0.0


class Images(Protocol):
    """Labelled images of a split, wherever they are.

    Attributes:
        labels: int64, (N,).
    """

    labels: NDArray[np.int64]

    def read(self, index: int, *, whole: bool) -> NDArray[np.uint8]:
        """Read an image, (channels, height, width): all of it, or that part and size that a network is tested on."""

    def name(self, index: int) -> str:
        """What errors call an image."""

    def only(self, chosen: NDArray[np.int64]) -> "Images":
        """Return some of the images."""


@dataclass(frozen=True)
class StreamedImages:
    """A `framework.Source` of images that are read as they are needed.

    Attributes:
        splits: images of ``train``, ``validation`` (may be missing) and ``test``.
        task: has the names of the classes.
        shape: (channels, height, width) of the images to test on.
        mean: (channels,), of a sample of the training images, scaled to [0, 1]; is subtracted.
        std: as ``mean``; is divided by.
        transforms: of training images.
        test_transforms: of the others.
        loader: how they are read, but for the transforms.
    """

    splits: Mapping[str, Images]
    task: Classification
    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    transforms: Sequence[Callable[[Tensor], Tensor]]
    test_transforms: Sequence[Callable[[Tensor], Tensor]]
    loader: Loader

    @property
    def dtype(self) -> torch.dtype:
        """Of batches."""
        return torch.float32

    @property
    def notes(self) -> Mapping[str, Any]:
        """What whoever loads a logged model has to know."""
        return {"data.mean": self.mean, "data.std": self.std}

    def open(self, device: torch.device, augment: tuple[str, ...]) -> "_Streams":
        """Give the images to a trial; nothing is read yet."""
        if augment:
            hint = ", ".join(_AUGMENTED.get(name, "RandomErasing") for name in augment)
            raise DataError(
                f"augment: {', '.join(augment)} is for images in memory; of images that are read as they are needed, "
                f"say it as loader: {{transforms: [{hint}]}}"
            )
        return _Streams(self, device)


def streamed(
    path: Path, train: Images, test: Images, classes: Sequence[str], loader: Loader, validation: float
) -> StreamedImages:
    """Make a source of images, and hold its validation images out.

    Args:
        path: where they are from, for messages.
        train: the training images.
        test: the test images.
        classes: the names of the classes.
        loader: how they are read.
        validation: the fraction of each class of the training images to hold out.

    Raises:
        DataError: a class is too rare to be held out, or one of the images that are measured cannot be read.
    """
    splits: dict[str, Images] = {"train": train, "test": test}
    if validation:
        kept, held_out = divided(path, train.labels, "validation", validation)
        splits |= {"train": train.only(kept), "validation": train.only(held_out)}
    test_transforms = tuple(made() for made in loader.test_transforms)
    shape, mean, std = _measured(splits["train"], test_transforms)
    transforms = tuple(made() for made in loader.transforms)
    options = replace(loader, transforms=(), test_transforms=())  # components are not for other processes
    return StreamedImages(
        splits, Classification(tuple(classes)), shape, mean, std, transforms, test_transforms, options
    )


@dataclass(frozen=True)
class _Items:
    """A map-style dataset of (image, label): uint8 (channels, height, width), and an integer."""

    images: Images
    transforms: Sequence[Callable[[Tensor], Tensor]]

    def __len__(self) -> int:
        return len(self.images.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        # Copied, as some arrays are read-only, in their order in memory: torchvision is faster with the channels last.
        image = torch.from_numpy(np.array(self.images.read(index, whole=bool(self.transforms))))
        for transform in self.transforms:
            image = transform(image)
        if image.dtype != torch.uint8:
            raise TypeError(f"transforms must leave an image uint8, not {image.dtype}: it is normalised after them")
        return image, int(self.images.labels[index])


def _measured(
    images: Images, transforms: Sequence[Callable[[Tensor], Tensor]]
) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    """Shape, and of each channel mean and standard deviation, of a sample that is always the same one."""
    count = len(images.labels)
    chosen = np.random.default_rng(0).permutation(count)[:_MEASURED]
    sample = _Items(images.only(np.sort(chosen)), transforms)
    shape: tuple[int, ...] = ()
    sums, squares, pixels = torch.zeros(()), torch.zeros(()), 0
    batches = LoaderBatches(sample, batch_size=64, device=torch.device("cpu"), name=sample.images.name)
    for batch, _ in batches.epoch(0):
        values = batch.double() / 255
        shape = tuple(batch.shape[1:])
        sums, squares = sums + values.sum((0, 2, 3)), squares + values.square().sum((0, 2, 3))
        pixels += values[:, 0].numel()
    mean = sums / pixels
    # An empty channel must not be divided by zero.
    std = (squares / pixels - mean.square()).clamp(min=0).sqrt().clamp(min=1 / 255)
    return shape, tuple(mean.tolist()), tuple(std.tolist())


@dataclass(frozen=True)
class _Streams:
    """A `framework.Data` of images that are read as they are needed."""

    source: StreamedImages
    device: torch.device
    # By split, the batches that were asked for last: their workers live on until others are asked for.
    given: dict[str, tuple[object, LoaderBatches]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def dtype(self) -> torch.dtype:
        return self.source.dtype

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(name for name in ("train", "validation", "test") if name in self.source.splits)

    def batches(self, split: str, size: int, *, seed: int | None = None, channels_last: bool = False) -> LoaderBatches:
        if split not in self.source.splits:
            raise StageError("there is no validation set: hold one out with data: {validation: 0.1}")
        asked = (size, seed, channels_last)
        if split not in self.given or self.given[split][0] != asked:
            self.given[split] = asked, self._batches(split, *asked)
        return self.given[split][1]

    def _batches(self, split: str, size: int, seed: int | None, channels_last: bool) -> LoaderBatches:
        source, loader = self.source, self.source.loader
        images = source.splits[split]
        return LoaderBatches(
            _Items(images, source.test_transforms if seed is None else source.transforms),
            batch_size=size,
            device=self.device,
            seed=seed,
            workers=loader.workers,
            prefetch=loader.prefetch,
            finish=_Finish(source, self.device, channels_last, mixed=seed is not None),
            name=images.name,
        )


class _Finish:
    """Normalises batches on the device, and mixes them."""

    def __init__(self, source: StreamedImages, device: torch.device, channels_last: bool, *, mixed: bool) -> None:
        mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (source.mean, source.std))
        self.scale, self.shift = 1 / (255 * std), -mean / std
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.mix = _mix(source.loader, len(source.task.outputs)) if mixed else None

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        images = images.to(torch.float32).mul_(self.scale).add_(self.shift)
        if self.mix is not None:
            images, labels = self.mix(images, labels)
        return images.contiguous(memory_format=self.format), labels


def _mix(loader: Loader, classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    if not loader.mixup and not loader.cutmix:
        return None
    from torchvision.transforms import v2

    kinds = [(v2.MixUp, loader.mixup), (v2.CutMix, loader.cutmix)]
    return v2.RandomChoice([kind(alpha=alpha, num_classes=classes) for kind, alpha in kinds if alpha])
