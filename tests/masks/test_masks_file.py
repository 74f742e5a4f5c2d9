import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from framework._errors import DataError
from framework._tracking import decode_masks, encode_masks

SHAPES = st.lists(st.integers(1, 9), max_size=4)


@given(st.dictionaries(st.text("abc.é", min_size=1), SHAPES, min_size=1, max_size=3))
def test_masks_come_back_bit_for_bit(shapes: dict[str, list[int]]) -> None:
    masks = {name: torch.rand(shape) < 0.5 for name, shape in shapes.items()}
    back = decode_masks(encode_masks(masks))
    assert back.keys() == masks.keys()
    assert all(back[name].dtype == torch.bool and torch.equal(back[name], masks[name]) for name in masks)


def test_a_mask_of_another_memory_layout_comes_back_in_its_shape() -> None:
    mask = (torch.rand(4, 3, 2, 2) < 0.5).to(memory_format=torch.channels_last)
    assert torch.equal(decode_masks(encode_masks({"conv": mask}))["conv"], mask)


def test_they_take_a_bit_for_each_weight() -> None:
    content = encode_masks({"fc": torch.ones(1000, 800, dtype=torch.bool)})
    assert 100_000 <= len(content) < 100_500


def test_a_damaged_file_is_an_error() -> None:
    content = encode_masks({"fc": torch.ones(8, 8, dtype=torch.bool)})
    for damaged in (b"", content[:40], content[:-1], content.replace(b"[8, 8]", b"[8, 9]")):
        with pytest.raises(DataError, match=r"masks\.safetensors is damaged"):
            decode_masks(damaged)
