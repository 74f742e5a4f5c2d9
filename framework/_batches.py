"""Batches of inputs and targets, on which networks are trained and tested."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from framework._random import derived_seed

Augmentation = Literal["crop", "flip", "cutout"]


class Batches(Protocol):
    """Batches of (inputs, targets) of one split.

    A pass is known by its number and gives the same batches whenever it is asked for, so that training that was
    interrupted goes on with the ones that it would have seen.
    """

    def __len__(self) -> int:
        """Batches per pass."""

    def epoch(self, number: int) -> Iterator[tuple[Any, Any]]:
        """Yield the inputs and targets of the pass with this number, on the trial's device."""


class TensorBatches:
    """Batches of rows of two tensors, shuffled anew in every pass if there is a seed.

    Args:
        inputs: of any type and shape, (N, …).
        targets: as ``inputs``, on the same device.
        batch_size: rows per batch. The last batch of a pass may be smaller; one of a single row is left out when
            shuffling, as batch normalisation cannot train on it.
        seed: of the order; None: the given order.
    """

    def __init__(self, inputs: Tensor, targets: Tensor, *, batch_size: int, seed: int | None = None) -> None:
        self.inputs, self.targets = inputs, targets
        self.batch_size = batch_size
        self.seed = seed

    def __len__(self) -> int:
        """Batches per pass."""
        return batches_per_pass(len(self.inputs), self.batch_size, self.seed)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows of the inputs and of the targets."""
        order = order_of_pass(len(self.inputs), self.seed, number)
        if order is not None:
            order = order.to(self.inputs.device)
        for i in range(len(self)):
            chosen = slice(i * self.batch_size, (i + 1) * self.batch_size)
            index = chosen if order is None else order[chosen]
            yield self.inputs[index], self.targets[index]


class ImageBatches(TensorBatches):
    """Normalised batches of images, shuffled and augmented anew in every pass.

    The images lie on the device as uint8; augmentation and normalisation happen there, batch by batch.

    Args:
        images: uint8, (N, channels, height, width).
        labels: int64, (N,).
        mean: float32, (channels,), of the images scaled to [0, 1]; subtracted.
        std: as ``mean``; divided by.
        batch_size: images per batch, see `TensorBatches`.
        augment: any of ``crop`` (shift by up to 1/8 of the height and of the width, zeros move in), ``flip`` (left to
            right, half of the images), ``cutout`` (a square of half the shorter side set to the mean; DeVries & Taylor
            2017).
        seed: of the order and of each augmentation, which are drawn apart: with and without one of them the order and
            the others are the same. None: the given order, unaugmented.
        channels_last: give batches in channels-last memory format.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        mean: Tensor,
        std: Tensor,
        *,
        batch_size: int,
        augment: Sequence[Augmentation] = (),
        seed: int | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__(images, labels, batch_size=batch_size, seed=seed)
        self.augment = tuple(augment)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        # One multiplication and one addition per pixel: x / 255 / std - mean / std.
        self._scale = (1 / (255 * std)).view(1, -1, 1, 1).to(images.device)
        self._fill = (255 * mean).round().to(torch.uint8).view(1, -1, 1, 1).to(images.device)
        self._shift = (-mean / std).view(1, -1, 1, 1).to(images.device)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images, labels): float32 (batch, channels, height, width), and int64 (batch,)."""
        # Each draws for itself, so that one more of them changes nothing of the others.
        drawn = {} if self.seed is None else {name: _generator(self.seed, name, number) for name in self.augment}
        for images, labels in super().epoch(number):
            for name, generator in drawn.items():
                images = _AUGMENT[name](images, generator, self._fill)
            images = torch.addcmul(self._shift, images.to(torch.float32), self._scale)
            yield images.contiguous(memory_format=self._format), labels


def batches_per_pass(rows: int, batch_size: int, seed: int | None) -> int:
    """How many batches a pass has: a last one of a single row is left out where there is a seed."""
    full, rest = divmod(rows, batch_size)
    return full + (rest > (1 if seed is not None and full else 0))


def order_of_pass(rows: int, seed: int | None, number: int) -> Tensor | None:
    """The order of the rows in the pass with this number, int64 (N,); None: the given one, as there is no seed."""
    return None if seed is None else torch.randperm(rows, generator=_generator(seed, "order", number))


def _generator(seed: int, *place: object) -> torch.Generator:
    return torch.Generator().manual_seed(derived_seed(seed, *place))


def _crop(images: Tensor, generator: torch.Generator, fill: Tensor) -> Tensor:
    count, _, height, width = images.shape
    rows, columns = max(1, height // 8), max(1, width // 8)
    padded = torch.nn.functional.pad(images, [columns, columns, rows, rows])
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    top, left = (torch.randint(2 * n + 1, (count,), generator=generator).to(images.device) for n in (rows, columns))
    return windows[torch.arange(count, device=images.device), :, top, left]


def _flip(images: Tensor, generator: torch.Generator, fill: Tensor) -> Tensor:
    flipped = torch.rand(len(images), generator=generator).lt(0.5).to(images.device)
    return torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)


def _cutout(images: Tensor, generator: torch.Generator, fill: Tensor) -> Tensor:
    count, _, height, width = images.shape
    reach = min(height, width) // 2 / 2  # of a whole number of pixels, or else the square might be one too wide
    centres = torch.rand(2, count, 1, generator=generator).to(images.device)
    rows = (torch.arange(height, device=images.device) + 0.5 - centres[0] * height).abs() <= reach
    columns = (torch.arange(width, device=images.device) + 0.5 - centres[1] * width).abs() <= reach
    return torch.where((rows[:, :, None] & columns[:, None, :]).unsqueeze(1), fill, images)


_AUGMENT = {"crop": _crop, "flip": _flip, "cutout": _cutout}
