import re
import time
from dataclasses import replace

import pytest
import torch
from mlflow import MlflowClient
from running import here
from stored import STATE, names

from framework._errors import TrackingError
from framework._store import Store
from framework._store.snapshot import dump
from framework._tracking.references import referenced

KEYS = [digit * 32 for digit in "abcde"]
DAY = 86400.0


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("FRAMEWORK_STORE", "FRAMEWORK_ROOT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "mlruns"


@pytest.fixture
def store(root):
    """Five snapshots, a chain but for the last, which is partial; the newest is a day old."""
    store = Store(root / "stages")
    for i, key in enumerate(KEYS):
        about = {
            "parent": KEYS[i - 1] if i else None,
            "experiment": "[unprune]",
            "stages": ["train", "prune"],
            "epoch": i,
        }
        saved = store.save(key, STATE, about, partial=i == 4)
        older = replace(saved, created=time.time() - DAY * (5 - i))
        (root / "stages" / saved.name).write_bytes(dump(older))
    return store


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*arguments):
        code = here("store", *arguments, monkeypatch=monkeypatch)
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def left(store):
    return "".join(snapshot.key[0] for snapshot in store.snapshots())


def test_list_shows_every_snapshot_the_newest_last(store, command):
    code, out, _ = command("list")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert lines[0] == ["key", "experiment", "stages", "epoch", "size", "age"]
    first, *_, last = (f"{snapshot.size}" for snapshot in store.snapshots())
    assert lines[1] == ["a" * 12, "[unprune]", "train", "prune", "0", first, "B", "5d"]
    assert lines[-1] == ["e" * 12, "[unprune]", "train", "prune", "4", last, "B", "1d", "partial"]
    assert len(lines) == 6


def test_list_of_nothing_says_where_it_looked(root, command):
    assert command("list", "--root", "elsewhere") == (0, f"no snapshots in {root.parent}/elsewhere/stages\n", "")


def test_list_survives_damage_and_tells_of_it(store, root, command):
    (root / "stages" / f"{KEYS[0]}.json").write_text("{")
    code, out, _ = command("list")
    assert (code, out.count("[unprune]")) == (0, 4)
    assert out.endswith("1 damaged and set aside; framework store gc removes them\n")


@pytest.mark.parametrize("how", ["option", "environment"])
def test_the_store_can_be_elsewhere(tmp_path, root, command, monkeypatch, how):
    Store(tmp_path / "other").save(KEYS[0], STATE, {})
    if how == "environment":
        monkeypatch.setenv("FRAMEWORK_STORE", "other")
    _, out, _ = command("list", *(["--store", "other"] if how == "option" else []))
    assert out.splitlines()[1].startswith("a" * 12)


def test_size_counts_whole_partial_and_orphans(store, root, command):
    store.save(KEYS[0], {"a": torch.rand(500_000)}, {})
    (root / "stages" / "ff.json.damaged").write_bytes(b"four")
    code, out, _ = command("size")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["whole:", "4", "2.0", "MB"],
        ["partial:", "1", str(store.find(KEYS[4], partial=True).size), "B"],
        ["orphans:", "1", "4", "B"],
    ]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (["--keep-last", "2"], "cde"),
        (["--keep-last", "0"], ""),
        (["--older-than", "3d"], "de"),
        (["--older-than", "59h"], "de"),
        (["--older-than", "9000m"], "abcde"),
        (["--keep-last", "1", "--older-than", "100h"], "bcde"),
        (["--keep-last", "3", "--older-than", "2d"], "bcde"),
    ],
)
def test_gc_removes_what_all_criteria_choose(store, root, command, options, kept):
    (root / "stages" / "ff.json.damaged").write_bytes(b"four")
    before = store.snapshots()
    gone = 5 - len(kept)
    what = f"{gone} snapshot{'' if gone == 1 else 's'} and 1 orphan: "
    code, out, _ = command("gc", *options, "--dry-run")
    assert (code, left(store)) == (0, "abcde")
    assert f"would remove {what}" in out
    code, out, _ = command("gc", *options)
    assert (code, left(store)) == (0, kept)
    freed = sum(snapshot.size for snapshot in before if snapshot.key[0] not in kept) + 4
    assert out.endswith(f"removed {what}{freed} B\n" if freed < 1000 else f"removed {what}{freed / 1000:.1f} kB\n")
    assert out.count("[unprune]") == gone
    assert len(names(root / "stages")) == 2 * len(kept)


def test_what_others_share_with_a_removed_snapshot_stays_and_is_counted_where_it_is(root, command):
    store, weight = Store(root / "stages"), torch.rand(250_000)
    for parent, key, more in ((None, "a" * 32, 50_000), ("a" * 32, "b" * 32, 500)):
        store.save(key, {"shared": weight, "own": torch.rand(more)}, {"parent": parent})
    assert command("size")[1].splitlines()[0].split() == ["whole:", "2", "1.2", "MB"]
    assert [line.split()[2] for line in command("list")[1].splitlines()[1:]] == ["MB", "kB"]
    for verb, *options in (("would remove", "--dry-run"), ("removed",)):
        _, out, _ = command("gc", "--keep-last", "1", *options)
        assert out.splitlines()[-1] == f"{verb} 1 snapshot and 0 orphans: 0 B"
    assert command("size")[1].splitlines()[0].split() == ["whole:", "1", "1.2", "MB"]
    assert torch.equal(store.load("b" * 32)[0]["shared"], weight)
    assert command("gc", "--keep-last", "0")[1].splitlines()[-1] == "removed 1 snapshot and 0 orphans: 1.2 MB"
    assert names(root / "stages") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "say what to remove: give --keep-last, --older-than or --unreferenced"),
        (["--dry-run"], "say what to remove"),
        (["--older-than", "7"], "'7' is no age, such as 7d, 12h or 30m"),
        (["--older-than", "-1d"], "'-1d' is no age"),
        (["--older-than", ""], "'' is no age"),
        (["--keep-last", "-1"], "Invalid value for '--keep-last'"),
    ],
)
def test_gc_refuses_bad_usage(store, command, options, message):
    code, _, err = command("gc", *options)
    assert (code, left(store)) == (2, "abcde")
    assert message in re.sub(r"\s+", " ", err)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A tracking store that is there: making one takes long."""
    path = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    uri = f"sqlite:///{path}"
    client = MlflowClient(uri)
    for name, keys in (("one", KEYS[1:2]), ("two", KEYS[:0]), ("three", KEYS[3:])):
        experiment = client.create_experiment(name, artifact_location="unused")
        run = client.create_run(experiment, tags={"framework.stages": " ".join(keys)} if keys else {})
        if name == "three":
            client.delete_run(run.info.run_id)
    return uri


def test_gc_unreferenced_keeps_what_live_runs_refer_to_and_its_ancestors(store, command, database):
    code, _, _ = command("gc", "--unreferenced", "--tracking-uri", database)
    assert (code, left(store)) == (0, "ab")


def test_gc_never_removes_what_an_unfinished_run_goes_on_from(store, command, database):
    client = MlflowClient(database)
    [run] = client.search_runs([client.get_experiment_by_name("one").experiment_id])
    assert run.info.status == "RUNNING"
    code, out, _ = command("gc", "--keep-last", "0", "--tracking-uri", database)
    assert (code, left(store), "removed 3 snapshots" in out) == (0, "ab", True)
    client.set_terminated(run.info.run_id)
    command("gc", "--older-than", "1m", "--tracking-uri", database)
    assert left(store) == ""


def test_all_pages_of_runs_are_read(tmp_path, database, monkeypatch):
    client = MlflowClient(database)
    experiment = client.create_experiment("many", artifact_location="unused")
    for i in range(3):
        client.create_run(experiment, tags={"framework.stages": f"{i} x{i}"})
        client.create_experiment(f"more-{i}", artifact_location="unused")
    for name in ("search_runs", "search_experiments"):
        real = getattr(MlflowClient, name)
        monkeypatch.setattr(MlflowClient, name, lambda *a, real=real, **k: real(*a, max_results=1, **k))
    assert referenced(database) == {KEYS[1], "0", "1", "2", "x0", "x1", "x2"}


def test_gc_unreferenced_needs_a_tracking_store(store, root, command):
    """Without one everything would seem to be unreferenced."""
    code, _, err = command("gc", "--unreferenced")
    assert (code, left(store)) == (1, "abcde")
    assert err.startswith(f"error: there is no tracking store sqlite:///{root}/mlflow.db, so nothing says which")
    assert not (root / "mlflow.db").exists()
    with pytest.raises(TrackingError):
        referenced("http://127.0.0.1:9")


def test_a_store_that_cannot_be_opened_is_an_error_in_one_line(command, root):
    assert command("list", "--store", "foo://x") == (1, "", "error: cannot open foo://x: Protocol not known: foo\n")
