from typing import Any

import numpy as np
import pytest
import torch

from framework import Classification, DataError, Dataset
from framework._trial import Images


def dataset(**changed: Any) -> Dataset:
    arrays = {
        "train_images": np.zeros((4, 3, 5, 6), np.uint8),
        "train_labels": np.array([0, 1, 0, 1]),
        "test_images": np.zeros((2, 3, 5, 6), np.uint8),
        "test_labels": np.array([1, 0]),
        "classes": ("cat", "dog"),
    }
    return Dataset(**{**arrays, **changed})


def test_the_shape_is_that_of_one_image() -> None:
    assert dataset().shape == (3, 5, 6)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        (
            {"train_images": np.zeros((4, 3, 5, 6), np.float32)},
            "train_images must be uint8 of shape (N, channels, height, width), not float32 of shape (4, 3, 5, 6)",
        ),
        (
            {"test_images": np.zeros((2, 5, 6), np.uint8)},
            "test_images must be uint8 of shape (N, channels, height, width), not uint8 of shape (2, 5, 6)",
        ),
        (
            {"train_labels": np.array([0, 1, 0, 1], np.int32)},
            "train_labels must be int64 of shape (4,), not int32 of shape (4,)",
        ),
        ({"test_labels": np.array([0])}, "test_labels must be int64 of shape (2,), not int64 of shape (1,)"),
        (
            {"test_images": np.zeros((0, 3, 5, 6), np.uint8), "test_labels": np.zeros(0, np.int64)},
            "test_images is empty: its shape is (0, 3, 5, 6)",
        ),
        ({"train_labels": np.array([0, 1, 2, 1])}, "train_labels has values 0..2, but there are 2 classes"),
        ({"test_labels": np.array([0, -1])}, "test_labels has values -1..0, but there are 2 classes"),
        (
            {"test_images": np.zeros((2, 1, 5, 6), np.uint8)},
            "test_images are 1×5×6, but train_images are 3×5×6",
        ),
    ],
)
def test_arrays_that_break_the_contract_are_an_error(changed: Any, text: str) -> None:
    with pytest.raises(DataError) as error:
        dataset(**changed)
    assert str(error.value) == text


def test_images_lie_the_same_way_for_torch_however_the_arrays_do() -> None:
    images, labels = np.arange(8 * 3 * 4 * 5, dtype=np.uint8).reshape(8, 3, 4, 5), np.zeros(8, np.int64)
    inside_out = np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    single = images[:, 0].copy()[:, np.newaxis]
    assert single.strides != single.copy().strides
    for given, strides in ((images, (60, 20, 5, 1)), (inside_out, (60, 20, 5, 1)), (single, (20, 20, 5, 1))):
        split = (given, labels)
        arrays = Images({"train": split, "test": split}, Classification(("a",)), (0.5,), (0.5,))
        data = arrays.open(torch.device("cpu"), ())
        assert data.train.images.stride() == data.test.images.stride() == strides
        assert np.array_equal(data.train.images.numpy(), given)
