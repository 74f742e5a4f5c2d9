import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from framework._component import build
from framework._registry import installed

REQUIRED = {"step": {"every": 3}, "multistep": {"milestones": [2, 5]}}
NAMES = ("constant", "cosine", "linear", "multistep", "onecycle", "step")


def factors(name: str, epochs: int, **parameters: object) -> list[float]:
    schedule = build(installed(), "schedule", {"name": name, **parameters})
    return [schedule(epoch=float(epoch), epochs=float(epochs)) for epoch in range(epochs + 1)]


def torch_factors(epochs: int, scheduler, **parameters: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = scheduler(optimizer, **parameters)
    found = []
    for _ in range(epochs + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_all_schedules_are_registered():
    assert tuple(installed().names("schedule")) == NAMES


@pytest.mark.parametrize(
    ("name", "parameters", "scheduler", "torch_parameters"),
    [
        ("cosine", {"final": 0.1}, lr_scheduler.CosineAnnealingLR, {"T_max": 10, "eta_min": 0.1}),
        ("linear", {"final": 0.2}, lr_scheduler.LinearLR, {"start_factor": 1, "end_factor": 0.2, "total_iters": 10}),
        ("step", {"every": 3, "gamma": 0.5}, lr_scheduler.StepLR, {"step_size": 3, "gamma": 0.5}),
        ("multistep", {"milestones": [2, 5]}, lr_scheduler.MultiStepLR, {"milestones": [2, 5]}),
        ("constant", {}, lr_scheduler.ConstantLR, {"factor": 1}),
    ],
)
def test_schedules_are_torchs_at_whole_epochs(name, parameters, scheduler, torch_parameters):
    expected = torch_factors(10, scheduler, **torch_parameters)
    assert factors(name, 10, **parameters) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("anneal", ["cos", "linear"])
def test_onecycle_is_torchs(anneal):
    # Torch counts steps from 0 and ends a phase one step early, so its peak stands at 0.3 × 1001 - 1 of 1000.
    expected = torch_factors(
        999, lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=1001, pct_start=301 / 1001, anneal_strategy=anneal
    )
    assert factors("onecycle", 1000, anneal=anneal)[:1000] == pytest.approx(expected, abs=1e-9)


def test_onecycle_starts_peaks_and_ends_where_it_says():
    found = factors("onecycle", 10, pct_start=0.4, div_factor=10, final_div_factor=100)
    assert found[0] == pytest.approx(1 / 10)
    assert found[4] == 1
    assert found[10] == pytest.approx(1 / 1000)


def test_cosine_warms_up_as_torchs_schedulers_in_sequence():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    warm = lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=4)
    cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)
    sequence = lr_scheduler.SequentialLR(optimizer, [warm, cosine], milestones=[4])
    expected = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls its parts in a way that torch itself deprecates
        for _ in range(11):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            sequence.step()
    assert factors("cosine", 10, warmup=4) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_warmup_rises_in_a_straight_line_from_one_percent_of_the_schedules_start(name):
    parameters = {**REQUIRED, "step": {"every": 9}, "multistep": {"milestones": [9]}}.get(name, {})
    start = factors(name, 10, **parameters)[0]
    found = factors(name, 10, warmup=4, **parameters)
    assert found[:5] == pytest.approx([start * (0.01 + 0.99 * epoch / 4) for epoch in range(5)])


@pytest.mark.parametrize("name", ["cosine", "linear", "onecycle"])
def test_a_warmed_up_schedule_that_spans_the_training_has_its_whole_course_in_the_rest(name):
    assert factors(name, 10, warmup=4)[4:] == pytest.approx(factors(name, 6))


def test_epochs_that_are_named_count_from_the_start_also_after_a_warmup():
    assert factors("multistep", 6, milestones=[3, 5], warmup=1)[1:] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert factors("step", 6, every=2, warmup=1)[1:] == pytest.approx([1, 0.1, 0.1, 0.01, 0.01, 0.001])


@given(
    name=st.sampled_from(NAMES),
    epochs=st.floats(0.01, 300),
    done=st.floats(0, 1),
    warmup=st.floats(0, 400),
)
def test_no_schedule_leaves_0_to_1_however_long_the_warmup(name, epochs, done, warmup):
    schedule = build(installed(), "schedule", {"name": name, "warmup": warmup, **REQUIRED.get(name, {})})
    assert 0 <= schedule(epoch=done * epochs, epochs=epochs) <= 1 + 1e-12
