"""A small state, and what tests of stores ask again and again."""

import torch

KEY, OTHER = "ab" * 16, "cd" * 16
STATE = {"weight": torch.arange(64.0)}


def names(folder):
    """The files in the folder of a store; the folder of its locks is left out."""
    return sorted(path.name for path in folder.iterdir() if path.name != "locks")


def assert_same(loaded, state):
    """The same tensors, bit for bit."""
    assert loaded.keys() == state.keys()
    for name, tensor in state.items():
        assert (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape), name
        assert bits(loaded[name]) == bits(tensor), name


def bits(tensor):
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist()
