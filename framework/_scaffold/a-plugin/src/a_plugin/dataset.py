"""A dataset: a function that returns labelled images as arrays. Its parameters are those in YAML."""

from collections.abc import Callable, Mapping
from typing import Annotated

import numpy as np
from framework import Dataset, Interval, hookimpl
from numpy.typing import NDArray

_PERIODS = 2  # of the stripes, over the size of an image


def stripes(
    count: Annotated[int, Interval(ge=10)] = 500,
    size: Annotated[int, Interval(ge=8)] = 8,
    directions: Annotated[int, Interval(ge=2, le=8)] = 4,
    noise: Annotated[float, Interval(ge=0)] = 0.2,
    seed: Annotated[int, Interval(ge=0)] = 0,
) -> Dataset:
    """Generated images of stripes, one channel; the direction of the stripes is the class.

    Args:
        count: how many images to train on; for testing there are a fifth as many.
        size: pixels of a side.
        directions: how many classes.
        noise: standard deviation of what is added to each pixel, as a fraction of full brightness.
        seed: the same seed gives the same images.
    """
    generator = np.random.default_rng(seed)
    train, test = (_draw(generator, n, size, directions, noise) for n in (count, count // 5))
    names = tuple(f"{180 * label / directions:g}°" for label in range(directions))
    return Dataset(*train, *test, classes=names)


def _draw(
    generator: np.random.Generator, count: int, size: int, directions: int, noise: float
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images, uint8 (count, 1, size, size), and labels, int64 (count,)."""
    labels = generator.integers(directions, size=count)
    angle = (np.pi * labels / directions).reshape(-1, 1, 1)
    phase = generator.uniform(0, 2 * np.pi, (count, 1, 1))
    rows, columns = np.mgrid[:size, :size] / size
    wave = np.sin(2 * np.pi * _PERIODS * (columns * np.cos(angle) + rows * np.sin(angle)) + phase)
    brightness = 0.5 + 0.5 * wave + noise * generator.standard_normal(wave.shape)
    pixels = np.rint(255 * brightness.clip(0, 1)).astype(np.uint8)
    return pixels[:, np.newaxis], labels


@hookimpl
def register_datasets() -> Mapping[str, Callable[..., Dataset]]:
    """The datasets of this package, by the names that specs use."""
    return {"a_plugin": stripes}
