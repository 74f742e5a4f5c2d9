"""What users write as names and paths: ``~`` is the home folder, and what becomes a file's name can be one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import DirectoryPath, FilePath
from spec_catalog import GOOD, mistakes, read

from framework import FrameworkError, StageError, Trial
from framework._cli.files import file_name
from framework._component import plain
from framework._component.parameters import parameters_of, validate
from framework._paths import home_path, stages_in


def takes(
    target: Path | None = None,
    file: FilePath | None = None,
    folder: DirectoryPath | None = None,
    more: tuple[Path, ...] = (),
) -> None: ...


MODEL = parameters_of(takes, (), "it")


@pytest.fixture(autouse=True)
def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home/a").write_text("a")
    return tmp_path / "home"


def parameters(**given: Any) -> Any:
    return validate(MODEL, given, lambda kind, value: None, "it")


def test_a_parameter_that_is_a_path_may_begin_at_home(at_home: Path) -> None:
    found = parameters(target="~/new", file="~/a", folder="~", more=["~/b"])
    assert (found.target, found.file, found.folder, found.more) == (
        at_home / "new",
        at_home / "a",
        at_home,
        (at_home / "b",),
    )
    assert plain(found.target) == str(at_home / "new")  # so keys and other machines do not ask whose home it is


def test_what_is_called_with_a_tilde_stays_reachable() -> None:
    found = parameters(target="./~x").target
    assert found == Path("~x")
    assert parameters(target=plain(found)).target == found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("~nobody-here/x", "~nobody-here stands for no home folder here: write the path out, or ./~nobody-here for"),
        ("x" * 5000, "the file system refuses this path: File name too long"),
        ("x/" * 2500, "the file system refuses this path: File name too long"),
        ("a\0b", "the file system refuses this path: embedded null byte"),
    ],
)
@pytest.mark.parametrize("parameter", ["target", "file", "folder"])
def test_what_the_file_system_refuses_is_told(parameter: str, path: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parameters(**{parameter: path})


def test_specs_roots_and_stores_may_begin_at_home(at_home: Path) -> None:
    (at_home / "base.yaml").write_text(GOOD)
    assert read("extends: ~/base.yaml\n").tree["model"] == "convnet"
    assert mistakes("extends: ~nobody-here/x\n")[0].startswith("s.yaml:1:10 extends: ~nobody-here stands for no home")
    assert home_path("~/runs") == at_home / "runs"
    assert stages_in(Path("runs"), "~/stages") == str(at_home / "stages")
    assert stages_in(Path("runs"), "s3://bucket/~") == "s3://bucket/~"
    with pytest.raises(FrameworkError, match=r"^~nobody-here stands for no home folder"):
        home_path("~nobody-here")


def test_files_named_after_a_trial_have_names_that_fit() -> None:
    assert file_name("unprune/a=0.1 seed=0") == "unprune_a=0.1_seed=0"
    long = [file_name(f"a=[{'é' * 300}, {last}]") for last in "xy"]
    assert len({*long}) == 2
    assert all(len(name.encode()) <= 200 for name in long)


@pytest.mark.parametrize(
    "name", ["a?b", "a#b", "50%", "a\nb", "a/../b", "a//b", "é" * 126, "a\ud800", "x/" * 250 + "x"]
)
def test_an_artifact_has_a_name_that_files_and_urls_take(name: str, make_trial: Callable[..., Trial]) -> None:
    with pytest.raises(StageError, match="an artifact's name is a relative path such as"):
        make_trial().log_artifact(name, b"")
