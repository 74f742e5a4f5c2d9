"""The store on a real S3 client and a server of our own, and on fsspec's memory."""

import os
import pickle
import sys
import threading
import time
import uuid
from importlib import import_module

import pytest
import torch
from running import free_port
from stored import KEY, OTHER, STATE, assert_same

from framework._errors import DamagedError, StoreError
from framework._store import Store
from framework._store.remote_lease import _Object

BUCKET = "my-bucket"


@pytest.fixture(scope="module")
def server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(server, monkeypatch):
    """A client; the environment is that of a user of this server."""
    import boto3
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    client.close()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def store(s3):
    return Store(f"s3://{BUCKET}/{uuid.uuid4()}/stages/")


@pytest.fixture(params=["s3", "memory"])
def remote(request):
    return request.getfixturevalue("store") if request.param == "s3" else Store(f"memory://{uuid.uuid4()}/stages")


def names(store):
    return sorted(store._backend.sizes())


def test_a_snapshot_comes_back(remote):
    assert (remote.stored(), remote.snapshots(), remote.orphans(), KEY in remote) == (set(), [], {}, False)
    state = {"a": torch.randn(3, 2, 2, 2).to(memory_format=torch.channels_last), "b": torch.tensor(True)}
    saved = remote.save(KEY, state, {"epoch": 1})
    remote.save(OTHER, STATE, {}, partial=True)
    loaded, found = remote.load(KEY)
    assert_same(loaded, state)
    assert loaded["a"].stride() == state["a"].stride()
    assert found == saved == remote.find(KEY)
    assert (remote.stored(), KEY in remote, OTHER in remote) == ({KEY}, True, False)
    assert [snapshot.key for snapshot in remote.snapshots()] == [KEY, OTHER]


def test_saving_again_and_discarding_leave_nothing_behind(remote):
    remote.save(KEY, STATE, {}, partial=True)
    remote.save(KEY, {"a": torch.zeros(2)}, {})
    saved = remote.save(KEY, STATE, {})
    assert names(remote) == sorted([saved.name, saved.file])
    remote.discard(KEY)
    remote.discard(KEY)
    assert names(remote) == []
    with pytest.raises(StoreError, match=rf"^there is no stored state (s3|memory)://.*/stages/{KEY}\.json$"):
        remote.load(KEY)


def test_damage_is_set_aside(remote):
    saved = remote.save(KEY, STATE, {})
    remote._backend.write(saved.file, b"short")
    with pytest.raises(DamagedError, match=rf"/stages/{saved.file} is damaged: it has 5 bytes .* as .*\.damaged and"):
        remote.load(KEY)
    assert KEY not in remote
    assert remote.orphans() == {
        f"{saved.name}.damaged": len(remote._backend.read(f"{saved.name}.damaged")),
        f"{saved.file}.damaged": 5,
    }
    saved = remote.save(KEY, STATE, {})
    remote._backend.write(saved.name, b"{")
    with pytest.raises(DamagedError, match=rf"/stages/{saved.name} is damaged: it is not the JSON"):
        remote.find(KEY)
    for name in remote.orphans():
        remote.remove_orphan(name)
    assert names(remote) == [saved.file]


def test_orphans_are_told_by_their_age(remote, monkeypatch):
    saved = remote.save(KEY, STATE, {})
    lost = f"{OTHER}-0123456789ab-01234567.safetensors"
    remote._backend.write(lost, b"four")
    assert remote.orphans() == {}
    monkeypatch.setattr("framework._store.store._SETTLED", -1)
    assert remote.orphans() == {lost: 4}
    assert saved.file in names(remote)


def test_what_others_write_and_remove_is_seen_at_once(store, s3):
    """fsspec remembers listings."""
    saved = store.save(KEY, STATE, {})
    assert store.stored() == {KEY}
    prefix = store.uri.removeprefix(f"s3://{BUCKET}/")
    s3.copy_object(Bucket=BUCKET, Key=f"{prefix}{OTHER}.json", CopySource=f"{BUCKET}/{prefix}{saved.name}")
    s3.delete_object(Bucket=BUCKET, Key=f"{prefix}{saved.name}")
    assert (store.stored(), KEY in store, OTHER in store) == ({OTHER}, False, True)


def test_a_store_travels_after_use(store):
    store.save(KEY, STATE, {})
    assert pickle.loads(pickle.dumps(store)).stored() == {KEY}


def test_a_missing_bucket_is_a_store_error(s3):
    store = Store("s3://nowhere/stages")
    for call in (store.stored, lambda: store.find(KEY), lambda: store.save(KEY, STATE, {})):
        with pytest.raises(
            StoreError, match=r"^cannot \w+ s3://nowhere/stages.*: The specified bucket does not exist$"
        ):
            call()


def test_an_unreachable_server_is_a_store_error(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(StoreError, match=r"^cannot list s3://bucket/x: Could not connect to the endpoint URL"):
        Store("s3://bucket/x").stored()


def test_missing_credentials_are_a_store_error(s3, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match=r"^cannot list s3://bucket/x: Unable to locate credentials"):
        Store("s3://bucket/x").stored()


def test_a_missing_package_is_a_store_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(import_module("fsspec.registry")._registry, "s3", raising=False)  # where it remembers classes
    with pytest.raises(StoreError, match=r"^cannot open s3://bucket/x: Install s3fs"):
        Store("s3://bucket/x").stored()


# Locks


def test_a_stage_is_computed_by_one_at_a_time_and_the_lock_goes_with_its_owner(remote):
    inside, most, waited = [], [], []

    def work():
        for _ in range(4):
            with Store(remote.uri).lock(KEY, lambda: waited.append(1)):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.05)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (max(most), len(most)) == (1, 12)
    assert waited
    assert locks(remote) == []
    assert remote.orphans() == {}


def locks(store):
    fs, folder = store._backend.fs, f"{store._backend.folder}/locks"
    fs.invalidate_cache()
    return fs.find(folder)


def test_a_dead_owner_is_taken_over_and_one_that_lives_is_not(remote, monkeypatch):
    monkeypatch.setattr("framework._store.lease.SECONDS", 1.2)
    backend, waited = remote._backend, threading.Event()
    backend.fs.pipe_file(f"{backend.folder}/locks/{KEY}", b"of one that was killed")
    began = time.monotonic()
    with remote.lock(KEY, waited.set):
        assert waited.is_set()
        assert time.monotonic() - began > 1.2
        [name] = locks(remote)
        assert backend.fs.cat_file(name) != b"of one that was killed"
        # This owner shows that it lives, for longer than a lease.
        got_in = threading.Event()
        other = threading.Thread(target=lambda: enter(Store(remote.uri), got_in))
        other.start()
        assert not got_in.wait(3.0)
    other.join()
    assert got_in.is_set()
    assert locks(remote) == []


def enter(store, got_in):
    with store.lock(KEY, lambda: None):
        got_in.set()


def test_an_owner_that_comes_back_late_takes_nothing_from_the_new_one(remote):
    fs, path = remote._backend.fs, f"{remote._backend.folder}/locks/{KEY}"
    late, new = _Object(fs, path), _Object(fs, path)
    late.acquire(lambda: None, 9.0)
    new.acquire(lambda: None, 0.05)  # it was silent for too long
    assert not late._replace(late.sign)
    late.release()
    assert new._replace(new.sign)
    new.release()
    assert locks(remote) == []


def test_of_two_that_wait_for_a_dead_owner_one_takes_over(store):
    fs, path = store._backend.fs, f"{store._backend.folder}/locks/{KEY}"
    fs.pipe_file(path, b"of one that was killed")
    first, second = _Object(fs, path), _Object(fs, path)
    sign = first._look()
    assert second._look() == sign
    assert [first._replace(sign), second._replace(sign)] == [True, False]


def test_a_lock_in_a_missing_bucket_is_a_store_error(s3):
    with (
        pytest.raises(
            StoreError, match=rf"^cannot lock s3://nowhere/stages/{KEY}: The specified bucket does not exist$"
        ),
        Store("s3://nowhere/stages").lock(KEY, lambda: None),
    ):
        raise AssertionError("it got in")


# What is shared


def test_snapshots_share_tensors_of_which_only_the_needed_parts_are_read(remote, monkeypatch):
    shared = {"a": torch.randn(100, 100), "b": torch.randn(200, 100)}
    parent = remote.save(KEY, {**shared, "bulk": torch.randn(500, 500)}, {})
    child = remote.save(OTHER, shared, {"parent": KEY})
    assert child.uses == {parent.file: parent.size}
    again, read = Store(remote.uri), []
    part = again._backend.read_part
    monkeypatch.setattr(again._backend, "read_part", lambda *place: read.append(place) or part(*place))
    assert_same(again.load(OTHER)[0], shared)
    assert sum(size for *_, size in read) == 120_000
    content = remote._backend.read(parent.file)
    remote._backend.write(parent.file, content[:500])
    with pytest.raises(DamagedError, match=rf"/{parent.file} is damaged: its content does not match its digest, and"):
        Store(remote.uri).load(OTHER)
    remote.discard(KEY, OTHER)
    # It is whole, so that others may need it: once it is old it counts as an orphan.
    assert [name for name in names(remote) if not name.endswith(".damaged")] == [child.file]
