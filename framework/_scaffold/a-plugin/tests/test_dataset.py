import numpy as np
from framework.testing import check_dataset

from a_plugin.dataset import stripes


def test_it_keeps_to_what_a_dataset_promises() -> None:
    check_dataset(stripes, count=50, size=12)


def test_without_noise_stripes_of_the_first_direction_stand_upright() -> None:
    data = stripes(count=50, directions=2, noise=0.0)
    assert data.classes == ("0°", "90°")
    upright = data.train_images[data.train_labels == 0]
    assert np.array_equal(upright, np.repeat(upright[:, :, :1], 8, axis=2))
    # Two periods of a wave in eight pixels: half a period apart, brightness is mirrored about the middle.
    pairs = upright[..., :2].astype(int) + upright[..., 2:4]
    assert np.abs(pairs - 255).max() <= 1
