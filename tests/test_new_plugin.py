"""`framework new-plugin`, and the packages that it writes."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest
from installing import Environment, install
from running import here, trials

from framework._component import KINDS
from framework._registry import Registry
from framework._spec import load

PROJECT = Path(__file__).parent.parent
TEMPLATE = PROJECT / "framework" / "_scaffold" / "a-plugin"
ALL = [*KINDS, "observer"]
CACHES = {"__pycache__", ".ruff_cache", ".mypy_cache", ".pytest_cache"}
OURS = tuple(kind.hook.removeprefix("register_") for kind in KINDS.values())


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if not CACHES & set(path.parts)}


@pytest.fixture
def new_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command, given in a folder that is empty."""
    monkeypatch.chdir(tmp_path)

    def give(*arguments: str) -> int:
        return here("new-plugin", *arguments, monkeypatch=monkeypatch)

    return give


# --- writing -------------------------------------------------------------------------------------------------------


def test_by_default_it_brings_a_stage_and_tells_what_comes_next(new_plugin: Any, tmp_path: Path, capsys: Any) -> None:
    assert new_plugin("shrink-it") == 0
    assert capsys.readouterr().out.splitlines() == [
        "shrink-it is there; specs name what it brings 'shrink_it'. What comes next:",
        "",
        "  python -m pip install --editable 'shrink-it[dev]'",
        "  python -m pytest shrink-it",
        "  framework run shrink-it/example.yaml --executor inline",
    ]
    assert files(tmp_path / "shrink-it") == {
        "README.md",
        "example.yaml",
        "pyproject.toml",
        "src/shrink_it/__init__.py",
        "src/shrink_it/py.typed",
        "src/shrink_it/stage.py",
        "tests/test_stage.py",
    }
    # The folder is as any that one makes, and nothing else is left.
    (tmp_path / "made").mkdir()
    assert (tmp_path / "shrink-it").stat().st_mode == (tmp_path / "made").stat().st_mode
    assert len(list(tmp_path.iterdir())) == 2


def test_its_metadata_ask_for_what_it_was_written_with(new_plugin: Any, tmp_path: Path) -> None:
    assert new_plugin("Shrink.It", "--kind", "loss", "--folder", "deep/er") == 0
    written = tomllib.loads((tmp_path / "deep" / "er" / "Shrink.It" / "pyproject.toml").read_text())
    project = written["project"]
    assert project["name"] == "Shrink.It"
    assert project["requires-python"] == ">=3.11"
    assert project["dependencies"] == [f"framework>={metadata.version('framework')}"]
    assert [re.match(r"\w+", needed)[0] for needed in project["optional-dependencies"]["dev"]] == ["pytest"]
    assert project["entry-points"] == {"framework": {"shrink_it": "shrink_it"}}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Imports a package from its sources, and forgets it."""
    names = []

    def give(folder: Path, name: str) -> Any:
        monkeypatch.syspath_prepend(folder / "src")
        names.append(name)
        return import_module(name)

    yield give
    for name in [module for module in sys.modules if module.partition(".")[0] in names]:
        del sys.modules[name]


@pytest.mark.parametrize("kind", ALL)
def test_each_kind_can_be_had_alone(kind: str, new_plugin: Any, tmp_path: Path, loaded: Any) -> None:
    name = f"only-{kind}"
    module = f"only_{kind}"
    assert new_plugin(name, "--kind", kind) == 0
    folder = tmp_path / name
    assert {f"src/{module}/{kind}.py", f"tests/test_{kind}.py"} <= files(folder)
    assert len(files(folder)) == 7
    for file in folder.rglob("*.py"):
        compile(file.read_text(), str(file), "exec")
    plugin = loaded(folder, module)
    ours = [(import_module(f"framework_plugins.{part}"), "framework") for part in OURS]
    registry = Registry([*ours, (plugin, f"{name} 0.1.0")])
    assert [one for one in KINDS if module in registry.names(one)] == [kind] * (kind in KINDS)
    assert (module in (folder / "example.yaml").read_text()) == (kind in KINDS)
    assert module in (folder / "README.md").read_text()
    spec = load(folder / "example.yaml", registry)
    assert spec.name == name


def test_nothing_of_the_template_shows(new_plugin: Any, tmp_path: Path) -> None:
    # A name that holds that of the template must not be replaced again.
    assert new_plugin("extra_a_plugin", *(word for kind in ALL for word in ("--kind", kind))) == 0
    for path in files(tmp_path / "extra_a_plugin"):
        text = (tmp_path / "extra_a_plugin" / path).read_text()
        assert "a-plugin" not in text
        assert not re.search(r"(?<!extra_)a_plugin|extra_extra", path + text)
        assert not re.search(r"# (if|unless) \w+$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["_it"], "'_it' cannot be the name of a package: take letters, digits, '-', '_' and '.', and begin with a"),
        (["it-"], "'it-' cannot be the name of a package: take letters"),
        (["3d"], "'3d' cannot be the name of a package: take letters"),
        (["../it"], "'../it' cannot be the name of a package: take letters"),
        (["class"], "'class' cannot be the name of a package: 'class' is Python's own"),
        (["Json"], "'Json' cannot be the name of a package: 'json' is Python's own"),
        (["Scikit_Learn"], "'Scikit_Learn' is taken: Scikit_Learn "),
        (["sklearn"], "'sklearn' is taken: scikit-learn installs a module 'sklearn'"),
        (["focal", "--kind", "model", "--kind", "loss"], "'focal' is taken: framework 0.1.0 registers loss 'focal'"),
        (["it", "--kind", "los"], "there is no kind 'los' (did you mean 'loss'?)"),
        (["it", "--kind", "plugin"], "there is no kind 'plugin' (valid: criterion, dataset, distribution, loss, "),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    arguments: list[str], text: str, new_plugin: Any, tmp_path: Path, capsys: Any
) -> None:
    assert new_plugin(*arguments) == 2
    assert f"Error: Invalid value: {text}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_left_as_it_is(new_plugin: Any, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("my work")
    assert new_plugin("mine") == 1
    assert capsys.readouterr().err == "error: mine is there already: choose another name or --folder, or remove it\n"
    assert files(tmp_path) == {"mine/README.md"}
    assert (tmp_path / "mine" / "README.md").read_text() == "my work"


def test_what_cannot_be_written_whole_is_not_written(
    new_plugin: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    written = []

    def write_text(path: Path, text: str, **options: Any) -> None:
        written.append(path)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        path.write_bytes(text.encode())

    monkeypatch.setattr(Path, "write_text", write_text)
    assert new_plugin("mine") == 1
    assert capsys.readouterr().err == "error: mine cannot be written: No space left on device\n"
    assert not list(tmp_path.iterdir())


def test_the_template_has_every_kind_and_is_installed_whole() -> None:
    assert {path.stem for path in (TEMPLATE / "src" / "a_plugin").glob("[!_]*.py")} == set(ALL)
    assert {path.stem for path in (TEMPLATE / "tests").glob("*.py")} == {f"test_{kind}" for kind in ALL}
    setuptools = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {path for pattern in setuptools["package-data"]["framework"] for path in TEMPLATE.parents[1].glob(pattern)}
    shipped = {str(path.relative_to(TEMPLATE)) for path in found if path.is_relative_to(TEMPLATE) and path.is_file()}
    assert shipped == files(TEMPLATE)


# --- from a file ---------------------------------------------------------------------------------------------------

MINE = '''
from dataclasses import dataclass

from framework import Stage
from torch import nn


class SharpLoss(nn.CrossEntropyLoss):
    """Cross entropy of outputs that are doubled."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, outputs, labels):
        return super().forward(2 * outputs, labels)


@dataclass(frozen=True)
class Halve(Stage):
    """Halve the weights of all layers that are not frozen."""

    def run(self, trial):
        for name, weight in trial.weights().items():
            if name not in trial.frozen:
                weight.data.mul_(0.5)
'''


def test_a_file_becomes_a_package_whose_tests_pass(
    new_plugin: Any, tmp_path: Path, loaded: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(MINE)
    assert new_plugin("of-a-file", "--from", "mine.py", "--kind", "loss:SharpLoss", "--kind", "stage:Halve") == 0
    assert capsys.readouterr().out.splitlines()[0] == (
        "of-a-file is there; specs name what it brings 'sharp_loss', 'halve'. What comes next:"
    )
    folder = tmp_path / "of-a-file"
    assert files(folder) == {
        "README.md",
        "pyproject.toml",
        "src/of_a_file/__init__.py",
        "src/of_a_file/mine.py",
        "src/of_a_file/py.typed",
        "tests/test_mine.py",
    }
    assert (folder / "src" / "of_a_file" / "mine.py").read_text() == MINE
    assert (
        "| loss | `sharp_loss` | Cross entropy of outputs that are doubled. |\n" in (folder / "README.md").read_text()
    )
    assert "example.yaml" not in (folder / "README.md").read_text()
    plugin = loaded(folder, "of_a_file")
    registry = Registry([(plugin, "of-a-file 0.1.0")])
    assert (registry.names("loss"), registry.names("stage")) == (["sharp_loss"], ["halve"])
    monkeypatch.syspath_prepend(folder / "tests")
    tests = import_module("test_mine")
    tests.test_sharp_loss_keeps_to_what_a_loss_promises()
    tests.test_halve_keeps_to_what_a_stage_promises()


@pytest.mark.parametrize(
    ("text", "kind", "code", "said"),
    [
        (MINE, "loss:Sharp", 2, "the file defines no 'Sharp' (did you mean 'SharpLoss'?)"),
        (MINE, "loss", 2, "say which loss of the file it is: --kind loss:NAME (valid: Halve, SharpLoss)"),
        (MINE, "los:SharpLoss", 2, "there is no kind 'los' (did you mean 'loss'?)"),
        ("def focal(:", "loss:focal", 1, "error: mine.py:1 is no Python: "),
        ("def focal(): ...", "loss:focal", 2, "'of-a-file' is taken: framework 0.1.0 registers loss 'focal'"),
        ("import beside", "loss:x", 1, "error: mine.py imports beside.py from beside it, which the package would lack"),
    ],
)
def test_a_file_that_cannot_be_a_package_is_refused(
    text: str, kind: str, code: int, said: str, new_plugin: Any, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "mine.py").write_text(text)
    assert new_plugin("of-a-file", "--from", "mine.py", "--kind", kind) == code
    assert said in capsys.readouterr().err
    assert files(tmp_path) == {"beside.py", "mine.py"}


# --- what is written -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One package with all kinds, installed."""
    folder = tmp_path_factory.mktemp("all-kinds")
    with pytest.MonkeyPatch.context() as monkeypatch:
        kinds = [word for kind in ALL for word in ("--kind", kind)]
        assert here("new-plugin", "all-kinds", *kinds, "--folder", str(folder), monkeypatch=monkeypatch) == 0
    return install([folder / "all-kinds"], tmp_path_factory.mktemp("installed"))


def test_it_is_listed_with_all_that_it_brings(installed: Environment, tmp_path: Path) -> None:
    done = installed.framework("plugins", "list", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    listed = [line.split()[:2] for line in done.stdout.splitlines() if "all-kinds 0.1.0" in line]
    assert listed == [[kind, "all_kinds"] for kind in KINDS]


def test_its_own_tests_pass(installed: Environment) -> None:
    done = installed.test("all-kinds")
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 2 * len(ALL)


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "--no-cache"],
        ["ruff", "format", "--check", "--no-cache"],
        # Where framework's own types are found, as it is.
        pytest.param(["mypy", "--strict"], marks=pytest.mark.long),
    ],
    ids=" ".join,
)
def test_it_is_clean(command: list[str], installed: Environment) -> None:
    folders = [str(installed.sources["all-kinds"] / part) for part in ("src", "tests")]
    done = subprocess.run([sys.executable, "-m", *command, *folders], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_example_runs(installed: Environment, tmp_path: Path) -> None:
    example = installed.sources["all-kinds"] / "example.yaml"
    done = installed.framework("run", str(example), "--executor", "inline", "--root", "results", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for run in trials(tmp_path / "results", "all-kinds").values():
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test/accuracy"] > 0.5
        assert [name for name in run.data.metrics if name.startswith("all_kinds/")]
        assert run.data.params["data.dataset"] == run.data.params["model"] == "all_kinds"


def test_a_wrong_parameter_is_told_with_its_place(installed: Environment, tmp_path: Path) -> None:
    example = (installed.sources["all-kinds"] / "example.yaml").read_text()
    (tmp_path / "wrong.yaml").write_text(example.replace("factor: 0.5", "factor: 50"))
    done = installed.framework("validate", "wrong.yaml", folder=tmp_path)
    assert done.returncode == 2
    [line] = [number for number, text in enumerate(example.splitlines(), 1) if "factor: 0.5" in text]
    column = example.splitlines()[line - 1].index("0.5") + 1
    assert done.stderr.startswith(f"wrong.yaml:{line}:{column} stages.1.all_kinds.factor: ")


def test_its_parameters_are_in_the_schema(installed: Environment, tmp_path: Path) -> None:
    done = installed.framework("schema", folder=tmp_path)
    schema = json.dumps(json.loads(done.stdout))
    for parameter in ("factor", "width", "directions", "temperature", "betas", "peak"):
        assert f'"{parameter}"' in schema
    assert '"all_kinds"' in schema
