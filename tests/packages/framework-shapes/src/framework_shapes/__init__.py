"""Generated images of shapes."""

from collections.abc import Callable, Mapping
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray

from framework import Dataset, Interval, hookimpl

CLASSES = ("square", "disc", "cross", "ring")
Drawn: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int64]]


def shapes(
    count: Annotated[int, Interval(ge=16)] = 800,
    size: Annotated[int, Interval(ge=8)] = 16,
    noise: Annotated[float, Interval(ge=0)] = 0.15,
    imbalance: Annotated[float, Interval(ge=1)] = 1.0,
    seed: Annotated[int, Interval(ge=0)] = 0,
) -> Dataset:
    """Squares, discs, crosses and rings, one in each image (1 × size × size), anywhere and of any size.

    Args:
        count: how many images to train on; for testing there are a quarter as many.
        size: pixels of a side.
        noise: standard deviation of what is added to each pixel, as a fraction of full brightness.
        imbalance: how many times more squares than rings there are to train on; in the test set they come alike.
        seed: the same seed gives the same images.
    """
    generator = np.random.default_rng(seed)
    shares = imbalance ** -np.linspace(0, 1, len(CLASSES))
    train = _draw(generator, generator.choice(len(CLASSES), count, p=shares / shares.sum()), size, noise)
    test = _draw(generator, np.arange(count // 4) % len(CLASSES), size, noise)
    return Dataset(*train, *test, classes=CLASSES)


def _draw(generator: np.random.Generator, labels: NDArray[np.int64], size: int, noise: float) -> Drawn:
    """Images, uint8 (N, 1, size, size), of these labels, int64 (N,)."""

    def each(low: float, high: float) -> NDArray[np.float64]:
        return generator.uniform(low, high, (len(labels), 1, 1))

    radius = each(0.2, 0.35)
    middles = (np.arange(size) + 0.5) / size
    down = np.abs(middles[:, np.newaxis] - each(0.35, 0.65)) / radius
    along = np.abs(middles - each(0.35, 0.65)) / radius
    near, far, distance = np.minimum(down, along), np.maximum(down, along), np.hypot(down, along)
    inside = [far <= 1, distance <= 1, (far <= 1) & (near <= 0.3), (distance <= 1) & (distance >= 0.5)]
    drawn = np.choose(labels[:, np.newaxis, np.newaxis], inside)
    brightness = np.where(drawn, each(0.6, 1), each(0, 0.3)) + noise * generator.standard_normal(drawn.shape)
    return np.rint(255 * brightness.clip(0, 1)).astype(np.uint8)[:, np.newaxis], labels


@hookimpl
def register_datasets() -> Mapping[str, Callable[..., Dataset]]:
    return {"shapes": shapes}
