"""What snapshots share: stored once, right whoever goes first, and gone with the last that needs it."""

import json
from dataclasses import replace
from hashlib import sha256

import pytest
import safetensors.torch
import torch
from stored import KEY, OTHER, assert_same, names

from framework._errors import DamagedError
from framework._store import Store, total
from framework._store.snapshot import dump

THIRD = "ef" * 16


def weight(*shape):
    return torch.randn(*(shape or (128, 128)), generator=torch.Generator().manual_seed(len(shape)))


@pytest.fixture
def pair(store):
    """A snapshot, and one of the stage after it, which has most of it in common."""
    state = {"weight": weight(), "mask": weight() > 0}
    parent = store.save(KEY, {**state, "bias": weight(512)}, {})
    child = store.save(OTHER, {**state, "bias": weight(500)}, {"parent": KEY})
    return parent, child, {**state, "bias": weight(500)}


# How tensors are stored


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_zeros_take_no_room_and_what_is_like_zero_comes_back(store, dtype, layout):
    tensor = torch.zeros(64, 64, 3, 3, dtype=dtype).to(memory_format=layout)
    tensor[3, 5], tensor[0, 0, 0, 0] = 1, -2
    if dtype.is_floating_point:
        tensor[7, 7, 1], tensor[8, 8, 2], tensor[9, 9, 0] = -0.0, float("nan"), 1e-7
    saved = store.save(KEY, {"a": tensor}, {})
    assert saved.size < tensor.numel() / 8 + 2000
    loaded, _ = Store(store.uri).load(KEY)
    assert_same(loaded, {"a": tensor})
    assert loaded["a"].stride() == tensor.stride()


def test_masks_take_a_bit_for_each_weight_and_weights_that_are_masked_no_more_than_the_rest(store):
    mask = weight(1000, 100) > 1
    dense, masked = weight(1000, 100), weight(1000, 100).masked_fill(~mask, 0.0)
    assert store.save(KEY, {"mask": mask}, {}).size < 12_500 + 1000
    saved = store.save(OTHER, {"mask": mask, "masked": masked, "momentum": 2 * masked}, {})
    assert saved.size < 12_500 + 2 * 4 * int(mask.sum()) + 2000
    assert_same(store.load(OTHER)[0], {"mask": mask, "masked": masked, "momentum": 2 * masked})
    assert store.save(THIRD, {"dense": dense}, {}).size < 4 * dense.numel() + 1000


def test_what_follows_a_stage_shares_with_it_whether_or_not_the_stage_had_a_checkpoint(store):
    store.save(KEY, {"a": weight() + 1}, {}, partial=True)
    store.save(KEY, {"a": weight()}, {})
    assert store.save(OTHER, {"a": weight()}, {"parent": KEY}).size < 1000


def test_what_is_only_added_to_is_stored_once_over_many_rounds(store):
    """As values before pruning are, which each round of pruning adds to."""
    left, kept = weight(200, 100), torch.zeros(200, 100)
    added = []
    for i in range(20):
        chosen = (torch.rand(200, 100, generator=torch.Generator().manual_seed(i)) < 0.2) & (kept == 0)
        kept = torch.where(chosen, left, kept)
        metadata = {"parent": f"{i:032x}"}
        added.append(store.save(f"{i + 1:032x}", {"before": kept}, metadata).size)
        if i % 5 == 0:
            store = Store(store.uri)  # another process goes on
            store.load(f"{i + 1:032x}")
        assert_same(Store(store.uri).load(f"{i + 1:032x}")[0], {"before": kept})
    whole = 4 * kept.numel()
    assert sum(size > whole / 2 for size in added) <= 2  # put together again, so that reading stays fast
    assert sum(added) < 4.5 * whole
    # One that changes what was there is stored as it is.
    changed = torch.where(kept != 0, kept + 1, kept)
    store.save(OTHER, {"before": changed}, {"parent": f"{20:032x}"})
    assert_same(store.load(OTHER)[0], {"before": changed})


def test_a_tensor_file_opens_as_safetensors(store, folder, pair):
    parent, child, _ = pair
    found = safetensors.torch.load_file(folder / parent.file)
    assert torch.equal(found["weight"], weight())
    assert len(found["mask"]) == 128 * 128 / 8
    assert [*safetensors.torch.load_file(folder / child.file)] == ["bias"]


# What is shared


def test_what_the_stage_before_has_is_not_stored_again(store, pair):
    parent, child, state = pair
    assert (child.uses, parent.uses) == ({parent.file: parent.size}, {})
    assert child.size < 4 * 500 + 1000 < parent.size / 8
    assert total([parent, child]) == parent.size + child.size
    assert_same(store.load(OTHER)[0], state)
    assert_same(Store(store.uri).load(OTHER)[0], state)
    # A third shares with the first, not with the second.
    again = store.save(THIRD, state, {"parent": OTHER})
    assert again.uses.keys() == {parent.file, child.file}


def test_a_partial_snapshot_shares_but_nothing_is_shared_with_it(store, pair):
    parent, child, state = pair
    momentum = weight(800)
    partial = store.save(THIRD, {**state, "momentum": momentum}, {"parent": OTHER}, partial=True)
    assert partial.uses.keys() == {parent.file, child.file}
    Store(store.uri).load(THIRD, partial=True)
    whole = store.save(THIRD, {**state, "momentum": momentum}, {"parent": OTHER})
    assert whole.uses.keys() == {parent.file, child.file}
    assert whole.size > 3200
    assert_same(store.load(THIRD)[0], {**state, "momentum": momentum})


# What is removed


def test_a_file_stays_as_long_as_a_snapshot_needs_it(store, folder, pair):
    parent, child, state = pair
    store.remove(parent)
    assert KEY not in store
    assert names(folder) == sorted([parent.file, child.name, child.file])
    assert store.orphans() == {}
    assert_same(Store(store.uri).load(OTHER)[0], state)
    store.remove(child)
    assert names(folder) == []


def test_saving_again_leaves_what_others_need(store, folder, pair):
    parent, child, state = pair
    again = Store(store.uri).save(KEY, {"weight": weight(10)}, {})
    assert names(folder) == sorted([parent.file, child.name, child.file, again.name, again.file])
    assert_same(store.load(OTHER)[0], state)
    store.discard(KEY, OTHER)
    assert names(folder) == []


def test_a_metadata_file_that_is_removed_by_hand_takes_nothing_from_others(store, folder, pair):
    parent, _, state = pair
    (folder / parent.name).unlink()
    assert_same(Store(store.uri).load(OTHER)[0], state)
    assert store.orphans() == {}


def test_what_is_just_being_removed_is_not_shared(store, folder, pair):
    """Another process has looked for users of the file already, and removes it in a moment."""
    parent, _, state = pair
    (folder / "removing.json").write_text(json.dumps([parent.file]))
    saved = store.save(THIRD, state, {"parent": OTHER})
    assert saved.uses == {}
    (folder / parent.file).unlink()
    assert_same(Store(store.uri).load(THIRD)[0], state)
    assert len([name for name in names(folder) if name.startswith(THIRD)]) == 2


def test_what_another_process_has_removed_is_stored_again(store, pair):
    _, _, state = pair
    Store(store.uri).discard(KEY, OTHER)
    saved = store.save(THIRD, state, {"parent": OTHER})
    assert saved.uses == {}
    assert_same(Store(store.uri).load(THIRD)[0], state)


# What is damaged


@pytest.mark.parametrize("how", ["missing", "short", "flipped"])
def test_a_damaged_file_is_set_aside_with_each_snapshot_that_needs_it_as_it_is_read(store, folder, pair, how):
    parent, child, state = pair
    path = folder / parent.file
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of the mask
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-600] if how == "short" else content)
    where, wrong = {
        "missing": (child.name, f"{parent.file}, where a part of its tensors is, is missing"),
        "short": (parent.file, f"its content does not match its digest, and {child.name} needs it"),
        "flipped": (parent.file, f"its content does not match its digest, and {child.name} needs it"),
    }[how]
    with pytest.raises(DamagedError, match=f"{where} is damaged: {wrong}; it was set aside"):
        Store(store.uri).load(OTHER)
    assert (OTHER in store, KEY in store) == (False, True)
    with pytest.raises(DamagedError, match=f"{parent.name} is damaged: its tensor file {parent.file} is missing"):
        Store(store.uri).load(KEY)
    again = Store(store.uri)
    again.save(KEY, state, {})
    again.save(OTHER, state, {"parent": KEY})
    assert_same(Store(store.uri).load(OTHER)[0], state)


def forge(store, change):
    """Change the index of a snapshot's tensor file, with digests that are right."""
    saved = store.find(OTHER)
    content = (store._backend.folder / saved.file).read_bytes()
    size = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:size])
    index = json.loads(header["__metadata__"]["index"])
    change(index)
    header["__metadata__"]["index"] = json.dumps(index)
    text = json.dumps(header).encode()
    head = len(text).to_bytes(8, "little") + text
    whole = head + content[size:]
    (store._backend.folder / saved.file).write_bytes(whole)
    forged = replace(saved, digest=sha256(head).hexdigest(), size=len(whole))
    (store._backend.folder / saved.name).write_bytes(dump(forged))


FORGED = {
    "a file elsewhere": lambda index: index["files"].__setitem__(1, "../secret"),
    "no files": lambda index: index.pop("files"),
    "another file's index": lambda index: index["files"].reverse(),
    "more than there is": lambda index: index["tensors"]["weight"]["blobs"][0].__setitem__(2, 10**15),
    "from before the beginning": lambda index: index["tensors"]["weight"]["blobs"][0].__setitem__(1, -5),
    "more elements than bytes": lambda index: index["tensors"]["weight"].update(shape=[10**12]),
    "a mask of more than its bits": lambda index: index["tensors"]["mask"].update(shape=[10**12]),
    "places that are none": lambda index: index["tensors"]["weight"].update(kind="sparse"),
    "places of other values": lambda index: index["tensors"]["weight"].update(
        kind="sparse", blobs=[index["tensors"]["mask"]["blobs"][0], index["tensors"]["bias"]["blobs"][0]]
    ),
    "elements that overlap": lambda index: index["tensors"]["weight"].update(strides=[1, 1]),
    "a type that there is not": lambda index: index["tensors"]["weight"].update(dtype="F999"),
    "a kind that there is not": lambda index: index["tensors"]["weight"].update(kind="pickle"),
    "no list": lambda index: index.update(tensors=3),
    "other fields": lambda index: index["tensors"]["weight"].update(more=1),
    "far more memory than bytes": lambda index: index["tensors"].update(
        {str(i): index["tensors"]["weight"] for i in range(2000)}
    ),
}


@pytest.mark.parametrize("what", FORGED)
def test_an_index_that_is_none_is_set_aside_before_anything_is_made_of_it(store, pair, what, monkeypatch):
    monkeypatch.setattr("framework._store.contents._MOST", 64)  # a test of the real limit would need large files
    forge(store, FORGED[what])
    with pytest.raises(DamagedError, match="is damaged: it does not hold tensors: "):
        Store(store.uri).load(OTHER)
    assert OTHER not in store
    assert_same({"weight": Store(store.uri).load(KEY)[0]["weight"]}, {"weight": weight()})


def test_a_snapshot_that_needs_a_checkpoints_file_is_none(store, folder, pair):
    _, child, _ = pair
    forged = replace(child, uses={f"{KEY}.partial-01.safetensors": 5})
    (folder / child.name).write_bytes(dump(forged))
    with pytest.raises(DamagedError, match="it points to a file that is none of a whole snapshot"):
        store.find(OTHER)
