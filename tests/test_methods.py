"""The experiments of docs/methods.md run, cut short and on other data."""

import re
from pathlib import Path

import pytest
import torch
from test_trial import Reports, Toys

from framework._plan import make_plans
from framework._registry import Registry, installed
from framework._spec import load
from framework._spec.grid import expand_grids
from framework._store import Store
from framework._trial import prepare, run_trial

PAGE = Path(__file__).parent.parent / "docs" / "methods.md"
EXPERIMENTS = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def registry() -> Registry:
    made = installed.__wrapped__()
    made.add(Toys(), "toys 1")
    return made


@pytest.mark.parametrize("number", range(len(EXPERIMENTS)))
def test_each_experiment_runs(number: int, registry: Registry, tmp_path: Path) -> None:
    text = re.sub(r"\bepochs: \d+", "epochs: 1", EXPERIMENTS[number])
    text = re.sub(r"\bsteps: \d+", "steps: 2", text)
    text = re.sub(r"data: .*", "data: {name: toy, validation: 0.25}", text)
    (tmp_path / "short.yaml").write_text(text)
    plans = make_plans(load(tmp_path / "short.yaml", registry), expand_grids)
    for plan in plans[-3:]:
        trial = run_trial(plan, registry, prepare(plan.data, registry), Store(tmp_path / "store"), Reports())
        assert 0 < trial.records[-1].metrics["sparsity"] < 1


def test_an_epoch_has_as_many_steps_as_the_page_says() -> None:
    assert "an epoch has 16 steps (1,150 images in batches of 72), so that 24 steps are 1.5 epochs" in PAGE.read_text()
    data = prepare({"dataset": {"name": "digits"}, "validation": 0.2}, installed()).open(torch.device("cpu"), ())
    assert len(data.batches("train", 72, seed=0)) == 16
