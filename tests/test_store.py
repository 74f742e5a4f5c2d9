import os

import pytest
import torch

from framework import StoreError
from framework.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "stages")


def test_a_state_comes_back_bit_for_bit(store):
    state = {
        "weight": torch.randn(3, 2, 2, 2).to(memory_format=torch.channels_last),
        "count": torch.tensor(7),
        "half": torch.tensor([1.5, float("nan")], dtype=torch.bfloat16),
        "zero": torch.tensor([-0.0, 0.0]),
    }
    store.save("ab", state)
    loaded = store.load("ab")
    assert loaded.keys() == state.keys()
    for name, tensor in state.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].contiguous().view(-1).view(torch.uint8).tolist() == (
            tensor.contiguous().view(-1).view(torch.uint8).tolist()
        )


def test_tied_weights_are_stored(store):
    weight = torch.ones(2)
    store.save("ab", {"a": weight, "b": weight})
    assert all(torch.equal(t, weight) for t in store.load("ab").values())


def test_saving_again_replaces_the_state_and_leaves_no_other_file(store):
    store.save("ab", {"a": torch.zeros(2)})
    store.save("ab", {"a": torch.ones(2)})
    assert torch.equal(store.load("ab")["a"], torch.ones(2))
    assert [p.name for p in store.root.iterdir()] == ["ab.safetensors"]


def test_a_failed_save_keeps_the_old_state_and_leaves_no_part(store):
    store.save("ab", {"a": torch.zeros(2)})
    with pytest.raises(AttributeError):
        store.save("ab", {"a": "no tensor"})
    assert torch.equal(store.load("ab")["a"], torch.zeros(2))
    assert [p.name for p in store.root.iterdir()] == ["ab.safetensors"]


def test_discarding_is_idempotent(store):
    store.save("ab", {"a": torch.zeros(2)})
    store.discard("ab")
    store.discard("ab")
    assert list(store.root.iterdir()) == []


def test_a_missing_state_is_a_store_error(store):
    with pytest.raises(StoreError, match=r"^cannot read the state .*cd\.safetensors: "):
        store.load("cd")


@pytest.mark.parametrize("keep", [0, 5, -4])
def test_a_damaged_state_is_a_store_error(store, keep):
    store.save("ab", {"a": torch.zeros(8)})
    path = store.root / "ab.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"^cannot read the state .*ab\.safetensors: "):
        store.load("ab")


def test_a_folder_that_cannot_be_written_is_a_store_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"^cannot write the state to .*file"):
        Store(tmp_path / "file").save("ab", {"a": torch.zeros(2)})
    assert os.listdir(tmp_path) == ["file"]
