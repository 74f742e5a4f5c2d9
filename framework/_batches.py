"""Batches of inputs and targets, on which networks are trained and tested."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, cast

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
        for index in self._rows(number):
            yield self.inputs[index], self.targets[index]

    def _rows(self, number: int) -> Iterator[slice | Tensor]:
        """Yield which rows each batch of a pass has."""
        order = order_of_pass(len(self.inputs), self.seed, number)
        if order is not None:
            order = order.to(self.inputs.device)
        for i in range(len(self)):
            chosen = slice(i * self.batch_size, (i + 1) * self.batch_size)
            yield chosen if order is None else order[chosen]


class ImageBatches(TensorBatches):
    """Normalised batches of images, shuffled and augmented anew in every pass.

    The images lie on the device as uint8; augmentation and normalisation happen there, batch by batch. What is drawn
    for an image in a pass is the same in whatever batch it is.

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
        drawn = {} if self.seed is None else {name: self._draw(name, number) for name in self.augment}
        for index in self._rows(number):
            images = self.inputs[index]
            for name, numbers in drawn.items():
                images = _AUGMENT[name].change(images, numbers[index], self._fill)
            images = torch.addcmul(self._shift, images.to(torch.float32), self._scale)
            yield images.contiguous(memory_format=self._format), self.targets[index]

    def _draw(self, name: Augmentation, number: int) -> Tensor:
        # For every image at once: what happens to one doesn't depend on its batch, and no step waits for the device.
        # Each augmentation draws for itself, so that one more of them changes nothing of the others.
        numbers = _AUGMENT[name].draw(self.inputs.shape, _generator(cast(int, self.seed), name, number))
        return numbers.to(self.inputs.device)


def batches_per_pass(rows: int, batch_size: int, seed: int | None) -> int:
    """How many batches a pass has: a last one of a single row is left out where there is a seed."""
    full, rest = divmod(rows, batch_size)
    return full + (rest > (1 if seed is not None and full else 0))


def order_of_pass(rows: int, seed: int | None, number: int) -> Tensor | None:
    """The order of the rows in the pass with this number, int64 (N,); None: the given one, as there is no seed."""
    return None if seed is None else torch.randperm(rows, generator=_generator(seed, "order", number))


def _generator(seed: int, *place: object) -> torch.Generator:
    return torch.Generator().manual_seed(derived_seed(seed, *place))


class _Augmentation(NamedTuple):
    """How images are changed.

    Attributes:
        draw: random numbers for all images, (N, …), by the images' shape.
        change: a batch of images, with its part of these numbers, and what stands where nothing is.
    """

    draw: Callable[[torch.Size, torch.Generator], Tensor]
    change: Callable[[Tensor, Tensor, Tensor], Tensor]


def _most_shifted(shape: torch.Size) -> tuple[int, int]:
    return max(1, shape[-2] // 8), max(1, shape[-1] // 8)


def _draw_corners(shape: torch.Size, generator: torch.Generator) -> Tensor:
    corners = [torch.randint(2 * most + 1, (shape[0],), generator=generator) for most in _most_shifted(shape)]
    return torch.stack(corners, 1)


def _crop(images: Tensor, corners: Tensor, fill: Tensor) -> Tensor:
    rows, columns = _most_shifted(images.shape)
    padded = torch.nn.functional.pad(images, [columns, columns, rows, rows])
    windows = padded.unfold(2, images.shape[2], 1).unfold(3, images.shape[3], 1)
    top, left = corners.unbind(1)
    return windows[torch.arange(len(images), device=images.device), :, top, left]


def _draw_sides(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.rand(shape[0], generator=generator).lt(0.5)


def _flip(images: Tensor, flipped: Tensor, fill: Tensor) -> Tensor:
    return torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)


def _draw_centres(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.rand(shape[0], 2, 1, generator=generator)


def _cutout(images: Tensor, centres: Tensor, fill: Tensor) -> Tensor:
    height, width = images.shape[2:]
    reach = min(height, width) // 2 / 2  # of a whole number of pixels, or else the square might be one too wide
    rows = (torch.arange(height, device=images.device) + 0.5 - centres[:, 0] * height).abs() <= reach
    columns = (torch.arange(width, device=images.device) + 0.5 - centres[:, 1] * width).abs() <= reach
    return torch.where((rows[:, :, None] & columns[:, None, :]).unsqueeze(1), fill, images)


_AUGMENT: Mapping[Augmentation, _Augmentation] = {
    "crop": _Augmentation(_draw_corners, _crop),
    "flip": _Augmentation(_draw_sides, _flip),
    "cutout": _Augmentation(_draw_centres, _cutout),
}
