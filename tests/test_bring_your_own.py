"""Each starting point of docs/bring-your-own.md is a whole file and a whole spec that runs."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from framework import SpecError
from framework._plan import make_plans
from framework._registry import installed
from framework._spec import load
from framework._spec.grid import expand_grids
from framework._store import Store
from framework._trial import prepare, run_trial

PAGE = (Path(__file__).parent.parent / "docs" / "bring-your-own.md").read_text()
FILES = dict(re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
SPECS = [name for name in FILES if name.endswith(".yaml")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(f"# {name}\n{text}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_code_on_the_page_is_a_file() -> None:
    assert len(FILES) == len(re.findall(r"^```(?:python|yaml)$", PAGE, re.MULTILINE))
    assert len(SPECS) == 11


@pytest.mark.parametrize("spec", SPECS)
def test_a_starting_point_runs(spec: str, folder: Path) -> None:
    plan = make_plans(load(spec, installed()), expand_grids)[0]
    registry = installed().with_code(plan.code)
    trial = run_trial(plan, registry, prepare(plan.data, registry), Store(folder / "store"), lambda report: None)
    assert trial.epoch == plan.epochs
    assert trial.records[-1].metrics[f"test/{trial.measures.primary}"] > 0.05


MISTAKES: dict[str, Callable[[str], str]] = {
    "loss.yaml": lambda spec: spec.replace("loss.py:focal", "loss.py:foccal"),
    "net.py": lambda code: code.replace("from torch import nn\n", "from torch import nn\n\n\nimport monai\n", 1),
    "stage.yaml": lambda spec: spec.replace("{grid_search: [0.1, 0.5]}", "-1"),
}


@pytest.mark.parametrize("file", MISTAKES)
def test_mistakes_are_told_as_the_page_shows(file: str, folder: Path) -> None:
    (folder / file).write_text(MISTAKES[file]((folder / file).read_text()))
    with pytest.raises(SpecError) as error:
        load(f"{Path(file).stem}.yaml", installed())
    assert str(error.value).splitlines()[0] in PAGE.splitlines()
