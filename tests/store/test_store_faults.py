"""What accidents leave in a local folder, and how damage is met."""

import errno
import json
import math
import os
import re
import resource
import subprocess
import sys
import time
from itertools import product

import pytest
import torch
from stored import KEY, OTHER, STATE, assert_same, names

from framework._errors import DamagedError, StoreError
from framework._store import Store
from framework._store.snapshot import _checksum

# Accidents


@pytest.mark.parametrize("call", range(1, 5))
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_a_save_that_fails_anywhere_leaves_the_old_or_the_new_snapshot(store, folder, monkeypatch, call, error):
    """A save syncs the tensor file, the folder, the JSON file and the folder again."""
    store.save(KEY, {"a": torch.zeros(2)}, {})
    calls = 0

    def fsync(_):
        nonlocal calls
        calls += 1
        if calls == call:
            raise error

    monkeypatch.setattr(os, "fsync", fsync)
    full = r"^cannot write .*: No space left on device \(\d+ MiB are free there\)$"
    with pytest.raises(StoreError if isinstance(error, OSError) else KeyboardInterrupt) as raised:
        store.save(KEY, {"a": torch.ones(2)}, {})
    monkeypatch.undo()
    assert isinstance(error, KeyboardInterrupt) or re.search(full, str(raised.value))
    assert_same(store.load(KEY)[0], {"a": torch.full((2,), 1.0 if call == 4 else 0.0)})
    assert not [name for name in names(folder) if name.endswith(".part")]


def test_a_file_that_cannot_grow_is_a_store_error(store, folder):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    saved = store.save(KEY, STATE, {})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"^cannot write .*\.safetensors: File too large$"):
            store.save(KEY, {"a": torch.rand(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(folder) == sorted([f"{KEY}.json", saved.file])


KILLED = """
import os, random, signal, sys, time
import torch
from framework._store import Store
from framework._store.snapshot import _checksum

torch.set_num_threads(1)  # a fork of a process with threads would wait for them in vain
store, keys = Store(sys.argv[1]), ["a" * 32, "b" * 32]

def write():
    for i in range(random.randrange(100), 10**6):
        partial = i % 3 == 0
        store.save(keys[i % 2], {"a": torch.full((50_000,), float(i))}, {"i": i}, partial=partial)

def check():
    snapshots = store.snapshots()
    for snapshot in snapshots:
        tensors, found = store.load(snapshot.key, partial=snapshot.partial)
        assert tensors["a"].eq(found.metadata["i"]).all() and len(tensors["a"]) == 50_000
    return len(snapshots)

loaded = 0
for _ in range(int(sys.argv[2])):
    writer = os.fork()
    if not writer:
        write()
    time.sleep(random.uniform(0, 0.06))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
    loaded += check()
print(loaded)
"""


def test_whatever_a_killed_writer_leaves_every_snapshot_loads(store, folder):
    """No snapshot is damaged, nothing is set aside, and what is left over is collected once it is old."""
    done = run(KILLED, folder, "60")
    assert int(done) > 60
    left = names(folder)
    assert any(name.endswith(".part") for name in left), "no writer was killed within a write"
    assert not any(name.endswith(".damaged") for name in left)
    assert store.orphans() == {}
    hour_ago = time.time() - 3601
    for path in folder.iterdir():
        os.utime(path, (hour_ago, hour_ago))
    for name in store.orphans():
        store.remove_orphan(name)
    kept = store.snapshots()
    assert names(folder) == sorted(name for snapshot in kept for name in (snapshot.name, snapshot.file))


TOGETHER = """
import os, sys
import torch
from framework._store import Store
from framework._store.snapshot import _checksum

store, key = Store(sys.argv[1]), "a" * 32
store.save(key, {"a": torch.zeros(20_000)}, {"i": 0})
writers = []
for number in (1, 2):
    writers.append(os.fork())
    if not writers[-1]:
        for i in range(60):
            value = i % 3 if number == 1 else -(i % 3)  # both write the same now and then
            store.save(key, {"a": torch.full((20_000,), float(value))}, {"i": value})
        os._exit(0)
loads, seen = 0, set()
while writers:
    tensors, snapshot = store.load(key)
    assert tensors["a"].eq(snapshot.metadata["i"]).all()
    loads, seen = loads + 1, seen | {snapshot.metadata["i"]}
    writers = [pid for pid in writers if os.waitpid(pid, os.WNOHANG) == (0, 0)]
store.load(key)
print(loads, len(seen))
"""


def test_two_writers_of_one_key_never_mix(folder):
    loads, seen = map(int, run(TOGETHER, folder).split())
    assert loads > 20
    assert seen > 3


COLLECTED = """
import os, sys
import torch
from framework._store import Store

store = Store(sys.argv[1])
shared = {str(i): torch.randn(300) for i in range(3)}
collector = os.fork()
if not collector:
    while True:
        store.remove(*store.snapshots()[:-1])  # the stage before, which the next one shares its tensors with, as well
shares = 0
for i in range(1, 80):
    saved = store.save(f"{i:032x}", {**shared, "own": torch.full((300,), float(i))}, {"parent": f"{i - 1:032x}"})
    shares += bool(saved.uses)
    try:
        tensors, _ = Store(store.uri).load(saved.key)
    except Exception as error:
        assert "there is no stored state" in str(error), error  # collected already, whole
        continue
    assert all(torch.equal(tensors[name], shared[name]) for name in shared)
os.kill(collector, 9)
print(shares)
"""


def test_a_collector_never_takes_what_is_just_being_shared(folder):
    assert int(run(COLLECTED, folder)) > 0
    assert not any(name.endswith(".damaged") for name in names(folder))


def run(program, *arguments):
    # In a process of its own, which forks writers: this one has threads.
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_snapshot_that_is_replaced_while_it_is_read_is_read_anew(store, folder, monkeypatch):
    old = store.save(KEY, {"a": torch.zeros(2)}, {"loss": math.nan})
    read = store._backend.read

    def late(name):
        if name == old.file:
            Store(folder).save(KEY, {"a": torch.ones(2)}, {})
        return read(name)

    monkeypatch.setattr(store._backend, "read", late)
    assert_same(store.load(KEY)[0], {"a": torch.ones(2)})


def test_a_snapshot_that_is_removed_while_it_is_read_is_missing(store, folder, monkeypatch):
    old = store.save(KEY, STATE, {})
    read = store._backend.read

    def late(name):
        if name == old.file:
            Store(folder).discard(KEY)
        return read(name)

    monkeypatch.setattr(store._backend, "read", late)
    with pytest.raises(StoreError, match=r"^there is no stored state"):
        store.load(KEY)
    assert names(folder) == []


# Damage


def assert_set_aside(store, folder, culprit, wrong, partial=False):
    where = re.escape(str(folder / culprit))
    text = rf"^{where} is damaged: {wrong}; it was set aside as {where}\.damaged and counts as not stored$"
    with pytest.raises(DamagedError, match=text):
        store.load(KEY, partial=partial)
    assert KEY not in store
    assert store.find(KEY, partial=partial) is None
    assert all(name.endswith(".damaged") for name in names(folder))
    assert set(store.orphans()) == set(names(folder))
    store.save(KEY, STATE, {}, partial=partial)
    assert_same(store.load(KEY, partial=partial)[0], STATE)


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("keep", [0, 5, -4])
def test_a_truncated_tensor_file_is_set_aside(store, folder, keep, partial):
    saved = store.save(KEY, STATE, {"nan": math.nan}, partial=partial)
    path = folder / saved.file
    path.write_bytes(path.read_bytes()[:keep])
    assert_set_aside(store, folder, saved.file, rf"it has \d+ bytes instead of {saved.size}", partial)


def test_any_flipped_bit_of_a_tensor_file_is_found(store, folder):
    saved = store.save(KEY, STATE, {})
    content, text = (folder / saved.file).read_bytes(), (folder / saved.name).read_bytes()
    for place in range(0, len(content), 7):
        (folder / saved.name).write_bytes(text)
        (folder / saved.file).write_bytes(flip(content, place, place % 8))
        with pytest.raises(DamagedError):
            store.load(KEY)
    (folder / saved.name).write_bytes(text)
    (folder / saved.file).write_bytes(flip(content, len(content) - 1, 0))
    assert_set_aside(store, folder, saved.file, "its content does not match its digest")


def flip(content, place, bit):
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def test_a_missing_tensor_file_is_damage(store, folder):
    saved = store.save(KEY, STATE, {})
    (folder / saved.file).unlink()
    assert_set_aside(store, folder, saved.name, f"its tensor file {saved.file} is missing")


def test_any_flipped_bit_of_the_json_is_found(store, folder):
    """Also in a number, which leaves good JSON."""
    saved = store.save(KEY, STATE, {"epoch": 3, "loss": 0.25})
    text = (folder / saved.name).read_bytes()
    for place, bit in product(range(len(text)), (0, 4, 7)):
        (folder / saved.name).write_bytes(flip(text, place, bit))
        with pytest.raises(DamagedError):
            store.find(KEY)
        assert KEY not in store
    (folder / saved.name).write_bytes(text.replace(b"0.25", b"0.26"))
    (folder / f"{saved.name}.damaged").unlink()
    with pytest.raises(DamagedError, match="its content does not match its checksum"):
        store.find(KEY)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "it is not the JSON of a snapshot of this version"),
        ("{", "it is not the JSON of a snapshot of this version"),
        ("[]", "it is not the JSON of a snapshot of this version"),
        ('{"checksum": "", "snapshot": 1}', "it is not the JSON of a snapshot of this version"),
        ("older", "it is not the JSON of a snapshot of this version"),
        ("other", f"it is the JSON of another snapshot, {OTHER}"),
        ("partial", rf"it is the JSON of another snapshot, {KEY}\.partial"),
    ],
)
def test_a_foreign_json_is_set_aside(store, folder, text, wrong):
    saved = store.save(OTHER if text == "other" else KEY, STATE, {}, partial=text == "partial")
    content = (folder / saved.name).read_text() if text in ("older", "other", "partial") else text
    if text == "older":  # as versions wrote it that called the metadata otherwise, and its checksum is right
        body = json.loads(content)["snapshot"]
        body["about"] = body.pop("metadata")
        content = json.dumps({"checksum": _checksum(body), "snapshot": body})
    for name in names(folder):
        (folder / name).unlink()
    (folder / f"{KEY}.json").write_text(content)
    assert_set_aside(store, folder, f"{KEY}.json", wrong)


def test_damage_does_not_keep_others_from_being_listed(store, folder):
    store.save(KEY, STATE, {})
    saved = store.save(OTHER, STATE, {})
    (folder / f"{KEY}.json").write_text("{")
    assert store.snapshots() == [saved]
    assert names(folder)[1] == f"{KEY}.json.damaged"


def test_a_damaged_snapshot_can_be_saved_over_and_discarded(store, folder):
    for act in (lambda: store.save(KEY, STATE, {}), lambda: store.discard(KEY)):
        store.save(KEY, STATE, {})
        (folder / f"{KEY}.json").write_text("{")
        act()
    assert KEY not in store
