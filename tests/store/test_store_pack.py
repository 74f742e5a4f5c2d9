import json
import math
from collections import OrderedDict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from stored import KEY, bits
from torch import nn, optim

from framework._store import Store, pack, unpack

TENSORS = st.builds(
    lambda values, dtype: torch.tensor(values).to(dtype),
    st.one_of(st.floats(width=32), st.lists(st.floats(width=32), max_size=3)),
    st.sampled_from([torch.float32, torch.bfloat16, torch.float64, torch.bool]),
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), TENSORS)
TREES = st.recursive(
    LEAVES,
    lambda trees: st.one_of(
        st.lists(trees, max_size=4),
        st.lists(trees, max_size=4).map(tuple),
        st.dictionaries(st.one_of(st.integers(), st.text(), st.sampled_from(["tuple", "tensor", "1"])), trees),
    ),
)


def plain(tree):
    """The tree with everything in it that equality overlooks: types, the order of keys, NaN, the sign of zero."""
    if isinstance(tree, dict):
        return "dict", [(plain(key), plain(value)) for key, value in tree.items()]
    if isinstance(tree, list | tuple):
        return type(tree).__name__, [plain(item) for item in tree]
    if isinstance(tree, torch.Tensor):
        return tree.dtype, tree.shape, bits(tree)
    return type(tree).__name__, repr(tree)


def through(tree):
    """Taken apart, written as JSON, and put together."""
    tensors, skeleton = pack(tree)
    return unpack(tensors, json.loads(json.dumps(skeleton)))


@given(TREES)
def test_every_structure_comes_back(tree):
    assert plain(through(tree)) == plain(tree)


def test_keys_that_look_alike_stay_apart():
    one, two, three = (torch.tensor(float(i)) for i in range(3))
    tree = {1: one, "1": two, "a": {"b": three}, "a.b": one}
    tensors, _ = pack(tree)
    assert len(tensors) == 4
    assert plain(through(tree)) == plain(tree)


def test_an_ordered_dict_comes_back_plain():
    assert type(through(OrderedDict(a=1))) is dict


def test_tensors_are_named_by_their_path():
    assert set(pack({"state": {0: {"momentum": torch.ones(1)}}, "more": [1, torch.ones(1)]})[0]) == {
        "state.0.momentum",
        "more.1",
    }


class Vector(list):
    pass


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({1, 2}, r"^the whole is a set, which cannot be stored$"),
        ({"a": [0, {"b": b"bytes"}]}, r"^a\.1\.b is a bytes, which cannot be stored$"),
        ({"a": Vector()}, r"^a is a Vector, "),
        ([torch.float32], r"^0 is a dtype, "),
        ({"a": {(1, 2): 0}}, r"^a key of a is a tuple: only str and int can be stored$"),
        ({True: 0}, r"^a key of the whole is a bool: "),
    ],
)
def test_anything_else_is_refused_by_its_path(tree, message):
    with pytest.raises(TypeError, match=message):
        pack(tree)


OPTIMIZERS = [
    kind
    for kind in vars(optim).values()
    if isinstance(kind, type) and issubclass(kind, optim.Optimizer) and kind is not optim.Optimizer
]


def train(kind, weights, optimizer, steps):
    for step in range(steps):

        def loss(step=step):
            optimizer.zero_grad()
            inputs = torch.arange(12).remainder(4).view(3, 4) + step % 2
            value = (nn.functional.embedding(inputs, weights, sparse=kind is optim.SparseAdam) - 1).square().mean()
            value.backward()
            return value

        optimizer.step(loss)


@pytest.mark.parametrize("kind", OPTIMIZERS, ids=lambda kind: kind.__name__)
def test_every_optimizer_goes_on_from_its_stored_state(tmp_path, kind):
    """As if it had not stopped, bit for bit."""
    torch.manual_seed(0)
    weights = nn.Parameter(torch.randn(6, 3))
    optimizer = kind([weights], lr=0.01)
    train(kind, weights, optimizer, 3)
    state = optimizer.state_dict()
    tensors, skeleton = pack(state)
    store = Store(tmp_path)
    store.save(KEY, {**tensors, "weights": weights}, {"optimizer": skeleton, "nan": math.nan})

    loaded, snapshot = store.load(KEY)
    assert plain(unpack(loaded, snapshot.metadata["optimizer"])) == plain(state)
    copy = nn.Parameter(loaded["weights"])
    other = kind([copy], lr=0.5)
    other.load_state_dict(unpack(loaded, snapshot.metadata["optimizer"]))
    train(kind, weights, optimizer, 2)
    train(kind, copy, other, 2)
    assert bits(copy) == bits(weights)


def test_shared_tensors_come_back_apart(tmp_path):
    shared = torch.zeros(3)
    tensors, skeleton = pack([shared, shared, shared[:2]])
    Store(tmp_path).save(KEY, tensors, {})
    one, two, three = unpack(Store(tmp_path).load(KEY)[0], skeleton)
    one += 1
    assert (two.tolist(), three.tolist()) == ([0, 0, 0], [0, 0])
