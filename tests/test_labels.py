"""Labels of stages, and trials that go back to them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from test_trial import Reports, Toys

from framework import SpecError
from framework._executors.scheduler import StageScheduler
from framework._plan import TrialPlan, as_it_stands, make_plans
from framework._plan.explain import explain
from framework._registry import Registry, installed
from framework._spec import load
from framework._store import Store
from framework._trial import model_state, prepare, run_trial

SPEC = """
model: {name: convnet, widths: [4]}
data: {name: toy, validation: 0.25}
defaults: {train: {batch_size: 8}}
stages:
  - train: {epochs: 1}
    as: early
  - train: {epochs: 1, schedule_from: 1}
  - repeat:
      times: 2
      stages:
        - prune: {amount: 0.3}
        - rewind: {to: early}
        - train: {epochs: 1, schedule_from: 1}
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    made = installed.__wrapped__()
    made.add(Toys(), "toys 1")
    return made


@pytest.fixture
def planned(tmp_path: Path, registry: Registry) -> Any:
    def make(text: str = SPEC) -> TrialPlan:
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        return make_plans(load(path, registry), as_it_stands)[0]

    return make


def run(plan: TrialPlan, registry: Registry, folder: Path) -> tuple[Any, Reports]:
    reports = Reports()
    return run_trial(plan, registry, prepare(plan.data, registry), Store(folder), reports), reports


def test_a_trial_goes_back_to_the_state_after_the_labelled_stage(
    planned: Any, registry: Registry, tmp_path: Path
) -> None:
    plan = planned()
    run(plan, registry, tmp_path / "store")
    early = model_state(Store(tmp_path / "store").load(plan.keys[1])[0])
    for count in (4, 7):  # after each rewind
        tensors, _ = Store(tmp_path / "store").load(plan.keys[count])
        for name, value in model_state(tensors).items():
            mask = tensors.get(f"masks.{name}", torch.ones_like(value, dtype=torch.bool))
            assert torch.equal(value, torch.where(mask, early[name], torch.zeros_like(value))), name


def test_a_state_that_is_no_longer_stored_is_computed_again(planned: Any, registry: Registry, tmp_path: Path) -> None:
    plan = planned()
    whole, _ = run(plan, registry, tmp_path / "whole")
    store = Store(tmp_path / "again")
    for count in (2, 3):
        tensors, snapshot = Store(tmp_path / "whole").load(plan.keys[count])
        store.save(plan.keys[count], tensors, snapshot.metadata)
    again, reports = run(plan, registry, tmp_path / "again")
    assert "the state that is labelled 'early' is no longer stored; it is computed again" in reports.notes
    state = whole.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in again.model.state_dict().items())


def test_what_a_label_is_called_is_in_no_key_but_which_state_it_names_is(planned: Any) -> None:
    keys = planned().keys
    assert planned(SPEC.replace("early", "epoch-1")).keys == keys
    other = planned(SPEC.replace("rewind: {to: early}", "rewind: {to: initial}")).keys
    assert (other[:4], other[4] == keys[4]) == (keys[:4], False)
    later = SPEC.replace("    as: early\n", "").replace(
        "schedule_from: 1}\n  - repeat", "schedule_from: 1}\n    as: early\n  - repeat"
    )
    assert planned(later).keys[4] != keys[4]


def test_the_latest_stage_of_a_label_counts(planned: Any) -> None:
    plan = planned(SPEC.replace("        - train:", "        - as: early\n          train:"))
    assert plan.labels == ("early", None, None, None, "early", None, None, "early")
    assert plan.went_back == ((), (), (), (1,), (), (), (5,), ())


def test_why_two_trials_go_back_to_different_states_is_explained(planned: Any, registry: Registry) -> None:
    told = explain(planned(), planned(SPEC.replace("to: early", "to: initial")), registry)
    assert "stages.3 rewind: back to the state after 1 ≠ 0 stages" in told


def test_what_a_trial_that_waits_will_go_back_to_is_needed(planned: Any) -> None:
    plan = planned()
    scheduler = StageScheduler([plan], plan.keys[1:3])
    assert scheduler.needed == {plan.keys[1], plan.keys[2]}
    assert StageScheduler([plan], plan.keys[1:8]).needed == {plan.keys[7]}  # nothing goes back any more


def test_a_trials_own_spec_has_its_labels(planned: Any) -> None:
    from framework._executors.recorder import _as_spec

    plan = planned()
    again = planned(_as_spec(replace(plan, plugins=())))
    assert (again.keys, again.labels) == (plan.keys, plan.labels)
    assert yaml.safe_load(_as_spec(plan))["stages"][0]["as"] == "early"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("to: early", "to: erly", "no stage before this one is labelled 'erly' (did you mean 'early'?)"),
        ("    as: early\n", "", "no stage before this one is labelled 'early' (valid: initial)"),
        ("as: early", "as: initial", "must be a word other than 'initial', not 'initial'"),
        ("as: early", "as: 3", "must be a word other than 'initial', not 3"),
        ("  - repeat:", "  - as: x\n    repeat:", "a repeat has no label: give it to a stage inside"),
        (
            "    as: early\n",
            "    as: early\n    prune: {amount: 0.1}\n",
            "one stage, one name: this has 'train' and 'prune'",
        ),
        ("to: early", "to: 3", "must be a string, not 3"),
    ],
)
def test_what_is_no_label_is_refused_at_its_place(old: str, new: str, text: str, planned: Any) -> None:
    with pytest.raises(SpecError) as error:
        planned(SPEC.replace(old, new))
    assert any(text in problem.message and problem.line for problem in error.value.problems)


def test_a_label_that_no_stage_has_at_a_later_point_is_refused_when_that_is_planned(
    tmp_path: Path, registry: Registry
) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC.replace("to: early", "to: {grid_search: [early, erly]}"))
    spec = load(path, registry)
    spec.resolve(yaml.safe_load(SPEC))
    with pytest.raises(SpecError, match=r"spec.yaml:13:46 .* no stage before this one is labelled 'erly'"):
        spec.resolve(yaml.safe_load(SPEC.replace("to: early", "to: erly")))
