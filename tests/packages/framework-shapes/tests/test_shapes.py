import numpy as np
import pytest

from framework.testing import check_dataset
from framework_shapes import CLASSES, shapes


def test_it_keeps_to_what_a_dataset_promises() -> None:
    check_dataset(shapes, count=64)
    check_dataset(shapes, count=100, size=24, imbalance=3.0, seed=1)


def test_there_are_as_many_images_as_asked_for_of_the_size_asked_for() -> None:
    data = shapes(count=100, size=20)
    assert data.train_images.shape == (100, 1, 20, 20)
    assert data.test_images.shape == (25, 1, 20, 20)
    assert data.classes == CLASSES


def test_each_shape_covers_the_area_computed_by_hand() -> None:
    data = shapes(count=800, size=64, noise=0.0)
    # Of the square around each, as fractions: π/4 for the disc, three quarters of that for the ring with half its
    # radius left out; the bars of the cross are 0.3 of its width.
    expected = {"square": 1, "disc": np.pi / 4, "cross": 1 - 0.7**2, "ring": np.pi / 4 * 0.75}
    for label, name in enumerate(CLASSES):
        images = data.train_images[data.train_labels == label, 0]
        inside = images == images.max(axis=(1, 2), keepdims=True)
        width = inside.any(axis=1).sum(axis=1)
        height = inside.any(axis=2).sum(axis=1)
        assert np.mean(inside.sum(axis=(1, 2)) / (width * height)) == pytest.approx(expected[name], abs=0.03)


def test_imbalance_is_how_often_the_first_class_comes_for_each_of_the_last() -> None:
    data = shapes(count=8000, size=8, imbalance=8.0)
    counts = np.bincount(data.train_labels)
    assert counts[0] / counts[3] == pytest.approx(8, rel=0.15)
    assert np.bincount(data.test_labels).tolist() == [500] * 4


def test_another_seed_gives_other_images() -> None:
    assert not np.array_equal(shapes(seed=0).train_images, shapes(seed=1).train_images)
