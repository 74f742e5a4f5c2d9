"""What users have around them: terminals without Unicode, containers, folders of any name, modules of their own."""

import shutil
import sqlite3
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from running import SCRIPT, environment, framework_afresh, write
from test_tracking import begin, make_plan, record

from framework._errors import TrackingError
from framework._report.comparison import compare
from framework._report.results import Results
from framework._terminal.console import make_console, say
from framework._tracking import Reader, Tracker, default_uri
from framework._tracking.params import comparable, run_name, variant
from framework._tracking.server import connect, database_file, database_uri, is_new

ODD = "what? 50%41 #1"
SPEC = {
    "small.yaml": """
        name: small
        model: {name: convnet, widths: [4, 8]}
        data: {name: digits, validation: 0.5}
        stages:
          - train: {epochs: 1, batch_size: 64}
        """,
}
NAMELESS = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]


@pytest.mark.parametrize("name", ["our runs", "what?", "50%", "50%41", "a#b;c&d=é", "x?y=1"])
def test_a_database_is_the_one_in_the_folder_meant(name: str, tmp_path: Path) -> None:
    from sqlalchemy import create_engine

    file = tmp_path / name / "mlflow.db"
    uri = database_uri(file)
    assert (database_file(uri), is_new(uri)) == (file, True)
    file.parent.mkdir()
    with create_engine(uri).connect():
        pass
    assert not is_new(uri)
    assert [*tmp_path.iterdir()] == [file.parent]


def test_a_question_mark_in_a_uri_that_begins_no_options_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match=r"if it is, write sqlite\+pysqlite:///what%3F/mlflow\.db$"):
        Tracker("sqlite:///what?/mlflow.db", tmp_path)
    assert database_file("sqlite:///a.db?timeout=5") == Path("a.db")
    assert database_file("sqlite:///:memory:") is database_file("http://server") is None


def test_a_run_is_kept_in_a_folder_of_any_name_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root, plan = tmp_path / ODD, make_plan("odd")
    with Tracker(default_uri(root), root) as tracker:
        begin(tracker, plan)
        tracker.recorded(plan, [record(1)])
        tracker.trial_ended(plan, None)
    reader = Reader(default_uri(root))
    [trial] = reader.trials("odd")
    assert reader.file(trial.run_id, "spec.yaml") == b"name: it\n"
    assert [*tmp_path.iterdir()] == [root]
    assert {path.name for path in root.iterdir()} == {"mlflow.db", "artifacts"}


def test_a_database_that_is_locked_when_a_run_starts_is_waited_for(tmp_path: Path) -> None:
    uri = database_uri(tmp_path / "mlflow.db")
    connect(uri)
    other = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        if other.in_transaction:
            other.execute("COMMIT")

    plan = make_plan("patient")
    with Tracker(uri, tmp_path, tell) as tracker:
        assert tracker.finished("patient") == {}
        begin(tracker, plan)
        tracker.trial_ended(plan, None)
    assert "does not answer (database is locked)" in told[0]
    assert [trial.status for trial in Reader(uri).trials("patient")] == ["FINISHED"]


def test_what_an_encoding_does_not_have_is_written_in_other_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, expected in (("ascii", "a -> b +- 1 --- ?? ?"), ("utf-8", "a → b ± 1 ─── éツ ?")):
        stream = TextIOWrapper(BytesIO(), encoding)
        monkeypatch.setattr("sys.stdout", stream)
        say(make_console(), "a → b ± 1 ─── éツ \udcff")
        stream.flush()
        assert stream.buffer.getvalue().decode(encoding) == f"{expected}\n"  # type: ignore[attr-defined]


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*NAMELESS, "true"], capture_output=True).returncode != 0,
    reason="no user namespace can be made",
)
def test_a_container_without_home_name_and_unicode_runs_trials(tmp_path: Path) -> None:
    folder = tmp_path / ODD
    write(folder, SPEC)
    bare = {name: value for name, value in environment().items() if name not in ("HOME", "USER", "LOGNAME")}
    command = [*NAMELESS, SCRIPT, "run", "small.yaml", "--executor", "inline", "--root", "results"]
    done = subprocess.run(
        command, cwd=folder, env={**bare, "PYTHONIOENCODING": "ascii"}, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {"small.yaml", "results"}
    [trial] = Reader(default_uri(folder / "results")).trials("small")
    assert trial.status == "FINISHED"


def test_modules_beside_the_spec_are_not_taken_for_others(cluster: str, tmp_path: Path) -> None:
    names = ("statistics", "queue", "random", "yaml", "torch", "framework/__init__")
    write(tmp_path, SPEC | {f"{name}.py": "raise RuntimeError('not the one that is meant')" for name in names})
    options = ("--address", cluster, "--root", "results", "--max-concurrent", "1")
    done = framework_afresh("run", "small.yaml", *options, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    # Here Python itself puts the folder first, before anything of ours is imported.
    shutil.rmtree(tmp_path / "framework")
    done = subprocess.run(
        [sys.executable, "-m", "framework", "compare", "small", "--root", "results"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_variants_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    """Lists of layers, say; each of them is longer than what is kept of it."""
    uri, layers = database_uri(tmp_path / "mlflow.db"), [f"features.{index}.weight" for index in range(500)]
    plans = [
        make_plan("alike", f"key{last}{seed}", swept={"prune.layers": [*layers, last]}, seed=seed)
        for last in ("a", "b")
        for seed in (0, 1)
    ]
    with Tracker(uri, tmp_path) as tracker:
        begin(tracker, *plans)
        for plan in plans:
            tracker.recorded(plan, [record(1, **{"test/accuracy": 0.5})])
            tracker.trial_ended(plan, None)
    results = Results(Reader(uri), ["alike"])
    groups = compare(results)
    assert [group.n for group in groups] == [2, 2]
    assert not any("pooled" in group.note for group in groups)
    assert len({group.label for group in groups}) == len(results.frame()["variant"].unique()) == 2
    assert [group.n for group in compare(results, by=["prune.layers"])] == [2, 2]
    assert all(len(group.label) < 250 for group in groups)


def test_values_are_cut_for_show_only() -> None:
    assert comparable("magnitude") == "magnitude"
    assert comparable(0.123456789012) == 0.123456789012
    near = [{"name": "sgd", "lr": 0.123456789 + tiny} for tiny in (0.0, 1e-9)]
    assert len({comparable(value) for value in near}) == 2
    many = {f"stages.{index}.prune.layers": "é" * 150 for index in range(200)}
    assert variant(many, 5000) != variant(many | {"stages.0.prune.layers": "e"}, 5000)
    assert len(variant(many, 5000)) <= 5000
    names = [run_name(f"prune.layers={'x' * 300}{last} seed=1") for last in "ab"]
    assert len({*names}) == 2
    assert all(len(name) <= 250 and name.endswith(" seed=1") for name in names)
