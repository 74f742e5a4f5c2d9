import warnings

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from framework._component import build
from framework._registry import installed

REQUIRED = {"step": {"every": 3}, "multistep": {"milestones": [2, 5]}}
NAMES = ("constant", "cosine", "linear", "multistep", "onecycle", "step")


def factors(name: str, epochs: int, per_epoch: int = 1, **parameters: object) -> list[float]:
    """At every step, and at the end."""
    schedule = build(installed(), "schedule", {"name": name, **parameters})
    steps = epochs * per_epoch
    return [schedule(epoch=step / per_epoch, epochs=float(epochs), steps=steps) for step in range(steps + 1)]


def torch_factors(steps: int, *parts: tuple[type, dict[str, object]], milestone: int = 0) -> list[float]:
    """At every step, of one of torch's schedulers or of two in sequence."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedulers = [scheduler(optimizer, **parameters) for scheduler, parameters in parts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls its parts in a way that torch itself deprecates
        schedule = lr_scheduler.SequentialLR(optimizer, schedulers, [milestone]) if parts[1:] else schedulers[0]
        found = []
        for step in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            if step < steps - 1:  # OneCycleLR refuses a step more than it has
                optimizer.step()
                schedule.step()
    return found


def test_all_schedules_are_registered():
    assert tuple(installed().names("schedule")) == NAMES


LENGTHS = {"epochs": st.integers(1, 30), "per_epoch": st.integers(1, 40)}
GAMMA = st.sampled_from([0.1, 0.5, 0.9])
FINAL = st.sampled_from([0.0, 0.01, 0.5])


def test_constant_is_torchs_without_a_scheduler():
    assert factors("constant", 3, 4) == [1.0] * 13


@settings(deadline=None)
@given(**LENGTHS, final=FINAL)
def test_cosine_is_torchs_at_every_step(epochs, per_epoch, final):
    steps = epochs * per_epoch
    expected = torch_factors(steps, (lr_scheduler.CosineAnnealingLR, {"T_max": steps, "eta_min": final}))
    assert factors("cosine", epochs, per_epoch, final=final)[:steps] == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(**LENGTHS, final=FINAL)
def test_linear_is_torchs_at_every_step(epochs, per_epoch, final):
    steps = epochs * per_epoch
    parameters = {"start_factor": 1, "end_factor": final, "total_iters": steps}
    expected = torch_factors(steps, (lr_scheduler.LinearLR, parameters))
    assert factors("linear", epochs, per_epoch, final=final)[:steps] == pytest.approx(expected, abs=1e-9)


@settings(deadline=None)
@given(**LENGTHS, every=st.integers(1, 60), gamma=GAMMA)
def test_step_is_torchs_at_every_step_also_where_a_fraction_of_an_epoch_is_no_round_number(
    epochs, per_epoch, every, gamma
):
    steps = epochs * per_epoch
    expected = torch_factors(steps, (lr_scheduler.StepLR, {"step_size": every, "gamma": gamma}))
    found = factors("step", epochs, per_epoch, every=every / per_epoch, gamma=gamma)[:steps]
    assert found == pytest.approx(expected, rel=1e-9)


def test_step_of_a_tenth_of_an_epoch_falls_at_each_of_ten_steps_an_epoch():
    assert factors("step", 3, 10, every=0.1, gamma=0.5) == [0.5**step for step in range(31)]


@settings(deadline=None)
@given(**LENGTHS, milestones=st.lists(st.integers(0, 200), max_size=4), gamma=GAMMA)
def test_multistep_is_torchs_at_every_step(epochs, per_epoch, milestones, gamma):
    steps = epochs * per_epoch
    later = {"milestones": [m for m in milestones if m], "gamma": gamma}
    # Torch's never comes to a milestone of 0.
    expected = [f * gamma ** milestones.count(0) for f in torch_factors(steps, (lr_scheduler.MultiStepLR, later))]
    found = factors("multistep", epochs, per_epoch, milestones=[m / per_epoch for m in milestones], gamma=gamma)
    assert found[:steps] == pytest.approx(expected, rel=1e-9)


@settings(deadline=None)
@given(
    **LENGTHS,
    pct_start=st.floats(0.01, 0.99),
    div_factor=st.sampled_from([1.0, 10.0, 25.0]),
    final_div_factor=st.sampled_from([1.0, 1e4]),
    anneal=st.sampled_from(["cos", "linear"]),
)
def test_onecycle_is_torchs_at_every_step_to_the_last(
    epochs, per_epoch, pct_start, div_factor, final_div_factor, anneal
):
    steps = epochs * per_epoch
    assume(abs(pct_start * steps - 1) > 1e-6)  # torch divides by zero
    parameters = {"pct_start": pct_start, "div_factor": div_factor, "final_div_factor": final_div_factor}
    theirs = {"max_lr": 1.0, "total_steps": steps, "anneal_strategy": anneal, "cycle_momentum": False}
    expected = torch_factors(steps, (lr_scheduler.OneCycleLR, {**theirs, **parameters}))
    found = factors("onecycle", epochs, per_epoch, anneal=anneal, **parameters)[:steps]
    assert found == pytest.approx(expected, abs=1e-9)
    assert found[-1] == pytest.approx(1 / div_factor / final_div_factor)


@settings(deadline=None)
@given(warmup=st.integers(1, 20), rest=st.integers(1, 20), per_epoch=st.integers(1, 20))
def test_warmup_is_torchs_linear_one_before_the_schedule_in_sequence(warmup, rest, per_epoch):
    ramp, steps = warmup * per_epoch, rest * per_epoch
    expected = torch_factors(
        ramp + steps,
        (lr_scheduler.LinearLR, {"start_factor": 0.01, "total_iters": ramp}),
        (lr_scheduler.CosineAnnealingLR, {"T_max": steps}),
        milestone=ramp,
    )
    found = factors("cosine", warmup + rest, per_epoch, warmup=warmup)
    assert found[: ramp + steps] == pytest.approx(expected, abs=1e-9)
    cycle = factors("onecycle", rest, per_epoch)
    assert factors("onecycle", warmup + rest, per_epoch, warmup=warmup)[ramp:] == pytest.approx(cycle, abs=1e-9)


def test_onecycle_starts_peaks_and_ends_where_it_says():
    schedule = build(installed(), "schedule", {"name": "onecycle", "pct_start": 0.4, "div_factor": 10})
    # A stage that does not say how many steps it makes.
    found = [schedule(epoch=float(epoch), epochs=10.0) for epoch in range(11)]
    assert found[0] == pytest.approx(1 / 10)
    assert found[4] == 1
    assert found[10] == pytest.approx(1e-5)


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
