"""Specs name files of code, and what is in them, without that anybody has registered it."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from framework._errors import SpecError
from framework._plan import TrialPlan, as_it_stands, make_plans
from framework._plan.explain import explain
from framework._registry import installed
from framework._spec import ExperimentSpec, load, schema
from framework._spec.grid import expand_grids

MINE = """\
from dataclasses import dataclass
from typing import Annotated

from framework import Interval, Stage
from torch import nn
from torch.nn import functional


class Net(nn.Module):
    def __init__(self, shape, classes, width: int = 8):
        super().__init__()
        self.layer = nn.Linear(width, classes)


def focal(outputs, targets, gamma: Annotated[float, Interval(ge=0)] = 2.0):
    return functional.cross_entropy(outputs, targets)


@dataclass(frozen=True)
class Shake(Stage):
    std: Annotated[float, Interval(gt=0)] = 0.01

    def run(self, trial):
        ...
"""
HOOKED = """\
import mine
from framework import hookimpl


@hookimpl
def register_stages():
    return {"shake": mine.Shake}
"""
SPEC = """\
model: {name: ./mine.py:Net, width: 16}
data: digits
defaults:
  ./mine.py:Shake: {std: 0.5}
stages:
  - train: {epochs: 1, loss: {name: ./mine.py:focal, gamma: 1}}
  - ./mine.py:Shake
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "hooked.py").write_text(HOOKED)
    (tmp_path / "my.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan_of(file: str = "my.yaml", **options: Any) -> TrialPlan:
    [plan] = make_plans(load(file, installed(), **options), as_it_stands)
    return plan


def mistakes(text: str, **options: Any) -> list[str]:
    Path("my.yaml").write_text(text)
    with pytest.raises(SpecError) as error:
        load("my.yaml", installed(), **options)
    return str(error.value).splitlines()


def test_what_is_in_a_file_is_named_where_it_is_used(folder: Path) -> None:
    plan = plan_of()
    assert plan.model == {"name": "./mine.py:Net", "width": 16}
    assert plan.stages[0]["loss"] == {"name": "./mine.py:focal", "gamma": 1.0}
    assert plan.stages[1] == {"name": "./mine.py:Shake", "std": 0.5}
    assert [source.split()[0] for source in plan.plugins] == ["./mine.py", "framework"]
    assert plan.origins[0].startswith("file ")
    assert dict(plan.code.texts) == {"mine.py": MINE}


def test_a_file_with_hooks_is_a_plugin(folder: Path) -> None:
    Path("my.yaml").write_text("plugins: [./hooked.py]\nmodel: convnet\ndata: digits\nstages: [shake: {std: 0.5}]\n")
    plan = plan_of()
    assert plan.stages == ({"name": "shake", "std": 0.5},)
    assert [source.split()[0] for source in plan.plugins] == ["./hooked.py", "framework"]
    assert plan.code.plugins == ("hooked.py",)
    before = plan.key
    Path("mine.py").write_text(MINE.replace("0.01", "0.02"))
    assert plan_of().key != before  # it is imported by the plugin


def test_files_can_be_named_beside_the_spec(folder: Path) -> None:
    (folder / "specs").mkdir()
    text = "model: convnet\ndata: digits\nstages: [shake]\n"
    (folder / "specs" / "my.yaml").write_text(text)
    with pytest.raises(SpecError, match="unknown stage 'shake'"):
        load("specs/my.yaml", installed())
    spec = load("specs/my.yaml", installed().with_files([Path("hooked.py")]))
    assert (spec.code.base, spec.code.plugins) == ("specs", ("hooked.py",))
    assert [plan.plugins[0] for plan in make_plans(spec, as_it_stands)] == ["../hooked.py"]


def test_files_are_relative_to_the_file_that_names_them(folder: Path) -> None:
    for name in ("sub", "other"):
        (folder / name).mkdir()
    (folder / "sub" / "own.py").write_text(MINE)
    (folder / "other" / "third.py").write_text(MINE)
    (folder / "sub" / "derived.yaml").write_text("extends: ../my.yaml\nstages: [./own.py:Shake]\n")
    plan = plan_of("sub/derived.yaml", overrides=["model=./other/third.py:Net"])
    assert (plan.model["name"], plan.stages[0]["name"]) == ("../other/third.py:Net", "./own.py:Shake")
    assert sorted(plan.code.texts) == ["mine.py", "other/third.py", "sub/own.py"]


def test_a_file_counts_in_keys_by_its_content(folder: Path) -> None:
    before = plan_of().keys
    (folder / "renamed.py").write_text(MINE)
    (folder / "renamed.yaml").write_text(SPEC.replace("mine.py", "renamed.py"))
    assert plan_of("renamed.yaml").keys == before
    Path("mine.py").write_text(MINE.replace("0.01", "0.02"))
    assert plan_of().keys != before


def test_a_stage_in_a_file_of_its_own_leaves_what_comes_before_it(folder: Path) -> None:
    (folder / "stage.py").write_text(MINE)
    Path("my.yaml").write_text(SPEC.replace("./mine.py:Shake", "./stage.py:Shake"))
    before = plan_of().keys
    (folder / "stage.py").write_text(MINE.replace("0.01", "0.02"))
    assert [a == b for a, b in zip(plan_of().keys, before, strict=True)] == [True, True, False]


def test_files_can_be_swept(folder: Path) -> None:
    (folder / "other.py").write_text(MINE)
    Path("my.yaml").write_text(
        SPEC.replace("{name: ./mine.py:Net, width: 16}", "{grid_search: [./mine.py:Net, ./other.py:Net]}")
    )
    plans = make_plans(load("my.yaml", installed()), expand_grids)
    assert [plan.name for plan in plans] == ["model=./mine.py:Net seed=0"]  # they are the same
    (folder / "other.py").write_text(MINE + "\n")
    one, other = make_plans(load("my.yaml", installed()), expand_grids)
    assert explain(one, other, installed()) == ["model: ./mine.py:Net ≠ ./other.py:Net"]


def test_specs_of_one_invocation_have_their_own_files(folder: Path) -> None:
    specs: list[ExperimentSpec] = []
    for name, width in (("a", 3), ("b", 4)):
        (folder / name).mkdir()
        (folder / name / "mine.py").write_text(MINE.replace("width: int = 8", f"width: int = {width}"))
        (folder / name / "my.yaml").write_text(f"name: {name}\nmodel: ./mine.py:Net\ndata: digits\nstages: [test]\n")
        specs.append(load(f"{name}/my.yaml", installed()))
    one, other = (make_plans(spec, as_it_stands)[0] for spec in specs)
    assert (one.model["width"], other.model["width"]) == (3, 4)
    assert explain(one, other, installed()) == ["./mine.py: its code"]


def test_observers_of_a_file_are_those_of_its_spec_alone(folder: Path) -> None:
    (folder / "watch.py").write_text("from framework import hookimpl\n@hookimpl\ndef trial_started(trial): ...\n")
    plain = "model: convnet\ndata: digits\nstages: [test]\n"
    Path("my.yaml").write_text(plain)
    alone = plan_of()
    Path("watched.yaml").write_text(f"plugins: [./watch.py]\n{plain}")
    watched = plan_of("watched.yaml")
    assert "./watch.py" in watched.plugins
    assert watched.keys[0] != alone.keys[0]
    assert plan_of().keys == alone.keys


REST = "data: digits\nstages: [train: {epochs: 1}]\n"
NEEDS = "that is a class that derives from"
NOT_INSTALLED = "among what is installed, and the working folder is not looked in: a file is named by its path,"
SPECS = {
    "Nett": f"model: ./mine.py:Nett\n{REST}",
    "widht": f"model: {{name: ./mine.py:Net, widht: 3}}\n{REST}",
    "Shake": f"model: ./mine.py:Shake\n{REST}",
    "none": f"model: ./none.py:Net\n{REST}",
    "broken": f"model: ./broken.py:Net\n{REST}",
    "nowhere": f"model: nowhere.to:Net\n{REST}",
    "mine": f"model: mine:Net\n{REST}",
    "Net": "model: convnet\ndata: digits\nstages:\n  - ./mine.py:Net: {std: 1}\n",
    "std": "model: convnet\ndata: digits\nstages:\n  - ./mine.py:Shake: {std: -1}\n",
    **{
        f"{name}.py": f"plugins: [./{name}.py]\nmodel: convnet\n{REST}"
        for name in ("mine", "misspelled", "argument", "none")
    },
}
TOLD = {
    "Nett": "1:8 model: ./mine.py has no 'Nett' (did you mean 'Net'?)",
    "widht": "1:30 model.widht: model './mine.py:Net' has no parameter 'widht' (did you mean 'width'?)",
    "Shake": f"1:8 model: ./mine.py:19: Shake is no model: {NEEDS} torch.nn.Module, or a function that makes one",
    "none": "1:8 model: ./none.py: there is no file {folder}/none.py",
    "broken": "1:8 model: ./broken.py:2: ZeroDivisionError: division by zero",
    "nowhere": f"1:8 model: there is no module 'nowhere.to' {NOT_INSTALLED} ./nowhere/to.py:Net",
    "mine": f"1:8 model: there is no module 'mine' {NOT_INSTALLED} ./mine.py:Net",
    "Net": f"4:5 stages.0../mine.py:Net: ./mine.py:9: Net is no stage: {NEEDS} framework.Stage",
    "std": "4:28 stages.0../mine.py:Shake.std: must be > 0, not -1",
    "mine.py": "1:11 plugins.0: ./mine.py has no hook: register what is in it (@hookimpl), or name it where it is "
    "used, such as ./mine.py:Net",
    "misspelled.py": "1:11 plugins.0: ./misspelled.py:2: there is no hook 'register_stage' (did you mean "
    "'register_stages'?)",
    "argument.py": "1:11 plugins.0: ./argument.py:2: Plugin",
    "none.py": "1:11 plugins.0: ./none.py: there is no file {folder}/none.py",
}


@pytest.mark.parametrize("wrong", SPECS)
def test_mistakes_are_told_with_the_lines_of_spec_and_file(wrong: str, folder: Path) -> None:
    hook = "from framework import hookimpl\n@hookimpl\ndef "
    (folder / "broken.py").write_text("x = 1\n1 / 0\n")
    (folder / "misspelled.py").write_text(f"{hook}register_stage(): ...\n")
    (folder / "argument.py").write_text(f"{hook}epoch_ended(trail): ...\n")
    assert mistakes(SPECS[wrong])[0].startswith(f"my.yaml:{TOLD[wrong]}".replace("{folder}", str(folder)))


def test_a_failure_of_what_is_only_tried_is_a_mistake_of_the_spec(folder: Path) -> None:
    (folder / "mine.py").write_text(f"{MINE}\n    def __post_init__(self):\n        raise KeyError('std')\n")
    assert mistakes(SPEC) == [
        "my.yaml:7:5 stages.1: stage './mine.py:Shake' (./mine.py:27) cannot be made: KeyError: 'std'"
    ]


def test_the_schema_lets_names_of_files_pass(folder: Path) -> None:
    import yaml

    check = Draft202012Validator(json.loads(json.dumps(schema(installed()))))
    assert list(check.iter_errors(yaml.safe_load(SPEC))) == []
    wrong = yaml.safe_load(SPEC.replace("./mine.py:Net", "./mine.py"))
    assert list(check.iter_errors(wrong))
