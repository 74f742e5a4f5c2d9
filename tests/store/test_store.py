"""Snapshots in a local folder."""

import math
import os
import pickle
import time

import pytest
import torch
from stored import KEY, OTHER, STATE, assert_same, names

from framework._errors import DamagedError, StoreError
from framework._store import Store

# What comes back


def test_tensors_come_back_bit_for_bit(store):
    state = {
        "float": torch.tensor([1 / 3, float("nan"), float("inf"), -0.0]),
        "double": torch.tensor([1 / 3], dtype=torch.float64),
        "half": torch.tensor([1.5, float("nan")], dtype=torch.bfloat16),
        "bool": torch.tensor([True, False]),
        "long": torch.tensor([-(2**63), 2**63 - 1]),
        "byte": torch.arange(256, dtype=torch.uint8),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        "slice": torch.arange(12.0).view(3, 4)[:, 1:3],
        "expanded": torch.arange(3.0).expand(2, 3),
    }
    store.save(KEY, state, {})
    assert_same(store.load(KEY)[0], state)


def test_a_snapshot_without_tensors_is_one(store):
    store.save(KEY, {}, {})
    assert store.load(KEY)[0] == {}


@pytest.mark.parametrize("shape", [(3, 2, 2, 2), (8, 4, 1, 1), (1, 1, 3, 3)])
def test_the_memory_layout_comes_back(store, shape):
    """Also where it is ambiguous: torch goes by the strides when it chooses a kernel."""
    state = {
        "last": torch.randn(shape).to(memory_format=torch.channels_last),
        "usual": torch.randn(shape),
        "transposed": torch.randn(3, 4).t(),
    }
    store.save(KEY, state, {})
    loaded, _ = store.load(KEY)
    assert_same(loaded, state)
    assert {name: t.stride() for name, t in loaded.items()} == {name: t.stride() for name, t in state.items()}


def test_tied_weights_come_back_apart(store):
    weight = torch.ones(2)
    store.save(KEY, {"a": weight, "b": weight, "c": weight[:1]}, {})
    loaded, _ = store.load(KEY)
    loaded["a"].zero_()
    assert_same(loaded, {"a": torch.zeros(2), "b": torch.ones(2), "c": torch.ones(1)})


def test_what_is_said_metadata_a_snapshot_comes_back_exactly(store, folder):
    metadata = {"parent": OTHER, "epoch": 3, "records": [{"loss": 0.1 + 0.2, "nan": math.nan, "inf": -math.inf}]}
    before = time.time()
    saved = store.save(KEY, STATE, metadata)
    found = store.find(KEY)
    assert repr(found) == repr(saved)  # NaN does not equal itself
    assert before <= found.created <= time.time()
    assert (found.key, found.partial, found.parent) == (KEY, False, OTHER)
    assert found.size == (folder / found.file).stat().st_size


def test_a_partial_snapshot_is_apart_from_the_whole_one(store):
    store.save(KEY, STATE, {"epoch": 1}, partial=True)
    assert (KEY in store, store.stored(), store.find(KEY)) == (False, set(), None)
    assert store.find(KEY, partial=True).metadata == {"epoch": 1}
    assert_same(store.load(KEY, partial=True)[0], STATE)


def test_a_partial_snapshot_replaces_the_former_one(store, folder):
    store.save(KEY, STATE, {"epoch": 1}, partial=True)
    saved = store.save(KEY, {"weight": torch.ones(1)}, {"epoch": 2}, partial=True)
    assert store.load(KEY, partial=True)[1] == saved
    assert names(folder) == sorted([f"{KEY}.partial.json", saved.file])


def test_a_whole_snapshot_ends_the_partial_one(store, folder):
    store.save(KEY, STATE, {}, partial=True)
    saved = store.save(KEY, STATE, {})
    assert store.find(KEY, partial=True) is None
    assert names(folder) == sorted([f"{KEY}.json", saved.file])


def test_saving_again_replaces_the_snapshot_and_leaves_no_other_file(store, folder):
    store.save(KEY, {"a": torch.zeros(2)}, {})
    saved = store.save(KEY, {"a": torch.ones(2)}, {})
    assert_same(store.load(KEY)[0], {"a": torch.ones(2)})
    assert names(folder) == sorted([f"{KEY}.json", saved.file])


def test_what_is_stored_is_told_by_one_listing(store, folder, monkeypatch):
    assert store.stored() == set()
    store.save(KEY, STATE, {})
    store.save(OTHER, STATE, {}, partial=True)
    (folder / "notes.json").write_text("not ours")
    (folder / "dd.json").mkdir()
    monkeypatch.setattr("pathlib.Path.open", None)
    assert store.stored() == {KEY}


def test_snapshots_come_the_oldest_first(store, monkeypatch):
    for i, key in enumerate([OTHER, KEY, "ef" * 16]):
        monkeypatch.setattr(time, "time", lambda i=i: 5.0 - i)
        store.save(key, STATE, {}, partial=i == 1)
    found = store.snapshots()
    assert [(snapshot.key, snapshot.partial) for snapshot in found] == [("ef" * 16, False), (KEY, True), (OTHER, False)]
    assert len(set(found)) == 3


def test_discarding_removes_whole_and_partial_and_is_idempotent(store, folder):
    store.save(KEY, STATE, {})
    store.save(KEY, STATE, {}, partial=True)
    store.save(OTHER, STATE, {})
    store.discard(KEY)
    store.discard(KEY)
    assert {name[:32] for name in names(folder)} == {OTHER}


def test_removing_a_snapshot_leaves_the_others_of_its_key(store):
    whole = store.save(KEY, STATE, {})
    store.save(KEY, STATE, {}, partial=True)
    store.remove(whole)
    store.remove(whole)
    assert [snapshot.partial for snapshot in store.snapshots()] == [True]


def test_a_store_travels_as_its_uri(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    store = Store("stages")
    store.save(KEY, STATE, {})
    sent = pickle.dumps(store)
    assert len(sent) < 300
    monkeypatch.chdir("/")
    assert pickle.loads(sent).stored() == {KEY}


def test_a_file_uri_is_a_local_folder(tmp_path):
    Store((tmp_path / "a b").as_uri()).save(KEY, STATE, {})
    assert Store(tmp_path / "a b").stored() == {KEY}


# What is refused


def test_a_missing_snapshot_is_a_store_error(store):
    assert store.find(KEY) is None
    with pytest.raises(StoreError, match=rf"^there is no stored state .*{KEY}\.json$") as raised:
        store.load(KEY)
    assert not isinstance(raised.value, DamagedError)


def test_a_folder_that_cannot_be_written_is_a_store_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"^cannot (read|write) .*/file/.*: Not a directory$"):
        Store(tmp_path / "file").save(KEY, STATE, {})
    with pytest.raises(StoreError, match=r"^cannot list .*/file: Not a directory$"):
        Store(tmp_path / "file").stored()
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("tensors", "metadata", "error"),
    [
        ({"a": "no tensor"}, {}, AttributeError),
        ({"a": torch.zeros(2, dtype=torch.complex128)}, {}, TypeError),
        ({"a": torch.eye(2).to_sparse()}, {}, TypeError),
        (STATE, {"a": {1, 2}}, TypeError),
    ],
)
def test_what_cannot_be_stored_leaves_what_is(store, folder, tensors, metadata, error):
    saved = store.save(KEY, STATE, {})
    with pytest.raises(error):
        store.save(KEY, tensors, metadata)
    assert store.load(KEY)[1] == saved
    assert names(folder) == sorted([f"{KEY}.json", saved.file])


@pytest.mark.parametrize("key", ["", "../ab", "AB", "ab.partial"])
def test_a_key_that_is_not_hex_is_refused(store, key):
    for call in (store.find, store.load, store.discard, store.__contains__):
        with pytest.raises(ValueError, match="is no stage key"):
            call(key)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("foo://x/y", r"^cannot open foo://x/y: Protocol not known: foo$"),
        ("gs://x/y", r"^cannot open gs://x/y: .*install gcsfs"),
        ("foo://me:secret@x/y", r"^cannot open foo://x/y: "),
    ],
)
def test_a_uri_that_cannot_be_opened_is_a_store_error(uri, message):
    with pytest.raises(StoreError, match=f"(?i){message}"):
        Store(uri).stored()


# Orphans


def test_orphans_are_old_files_of_no_snapshot(store, folder):
    for partial in (False, True):
        store.save(KEY, STATE, {}, partial=partial)
    ours = [f"{OTHER}-0123456789ab-01234567.safetensors", f"{OTHER}.partial.json.01234567.part"]
    ours.append(f"{KEY}.partial-0123456789ab-01234567.safetensors")
    for name in [*ours, "notes.txt", "model.safetensors"]:
        (folder / name).write_bytes(b"four")
    assert store.orphans() == {}
    old = time.time() - 3700
    for path in folder.iterdir():
        os.utime(path, (old, old))
    assert store.orphans() == dict.fromkeys(ours, 4)
