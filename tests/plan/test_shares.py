"""How stages share a machine's cores: ``1:ab`` is the state of seed 1 after the stages a and b."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from test_plan_tree import trial

from framework._plan import TrialPlan
from framework._plan.shares import Shares

AUTO = {"cpu": "auto", "threads": "auto"}


def threads(
    plans: Sequence[TrialPlan], cores: int, least: float = 1, coming: int = 0, resources: Any = AUTO
) -> dict[str, tuple[int, ...]]:
    """By the last key of each trial, how many threads its stages use."""
    shares = Shares(plans, coming)
    return {plan.key: shares.settle(replace(plan, resources=resources), cores, least).threads for plan in plans}


def test_a_trial_that_is_alone_has_all_cores() -> None:
    assert threads([trial(0, "abc")], 16) == {"0:abc": (16, 16, 16)}


def test_what_all_wait_for_has_all_cores_and_then_each_has_its_share() -> None:
    assert threads([trial(0, "ab"), trial(0, "ac"), trial(0, "ad"), trial(0, "aeb")], 16) == {
        "0:ab": (16, 4),
        "0:ac": (16, 4),
        "0:ad": (16, 4),
        "0:aeb": (16, 4, 4),
    }


def test_a_stage_has_the_shares_of_the_branches_that_wait_for_it() -> None:
    plans = [trial(0, "abc"), trial(0, "abd"), trial(0, "ae"), trial(1, "a")]
    assert threads(plans, 8) == {"0:abc": (6, 4, 2), "0:abd": (6, 4, 2), "0:ae": (6, 2), "1:a": (2,)}


def test_a_trial_that_ends_on_the_way_of_others_is_no_branch() -> None:
    assert threads([trial(0, "a"), trial(0, "ab")], 8) == {"0:a": (8,), "0:ab": (8, 8)}


def test_experiments_share_the_machine_and_their_common_stages() -> None:
    plans = [trial(0, "ab", "one"), trial(0, "ab", "two"), trial(0, "ac", "two")]
    assert threads(plans, 8) == {"0:ab": (8, 4), "0:ac": (8, 4)}


def test_nobody_has_less_than_a_core_or_than_what_it_takes() -> None:
    plans = [trial(0, f"a{last}") for last in "bcde"]
    assert set(threads(plans, 2).values()) == {(2, 1)}
    assert set(threads(plans, 8, least=4).values()) == {(8, 4)}  # as two run at once
    assert set(threads(plans, 8, least=0.5).values()) == {(8, 2)}


def test_trials_that_are_to_be_suggested_have_their_shares_too() -> None:
    assert threads([trial(0, "ab")], 8, coming=3) == {"0:ab": (2, 2)}
    shares, suggested = Shares([], 4), replace(trial(0, "ab"), resources=AUTO)
    assert (shares.branches, shares.settle(suggested, 8, 2).threads) == (4, (2, 2))


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"cpu": 3, "threads": "auto"}, (3, 3, 3)),
        ({"cpu": 0.5, "threads": "auto"}, (1, 1, 1)),
        ({"cpu": 3, "threads": [5]}, (5, 5, 5)),
        ({"cpu": "auto", "threads": [5, 1]}, (5, 1, 1)),
        ({"cpu": "auto", "threads": [5, 1, 2, 7]}, (5, 1, 2)),
    ],
)
def test_a_spec_may_say_it(resources: Any, expected: tuple[int, ...]) -> None:
    cpu = resources["cpu"]
    assert threads([trial(0, "abc")], 16, 1 if cpu == "auto" else cpu, resources=resources) == {"0:abc": expected}


@pytest.mark.parametrize("cores", [1, 7, 16])
def test_stages_that_run_at_the_same_time_use_no_more_than_there_is(cores: int) -> None:
    plans = [trial(seed, f"a{one}{two}") for seed in (0, 1) for one in "bc" for two in "bcd"[: 1 + seed + (one == "b")]]
    found = {plan.keys[1:]: made for plan, made in zip(plans, threads(plans, cores).values(), strict=True)}
    by_key = {key: count for keys, made in found.items() for key, count in zip(keys, made, strict=True)}
    for depth in range(1, 4):
        level = {plan.keys[depth] for plan in plans}
        assert sum(by_key[key] for key in level) <= max(cores, len(level))
