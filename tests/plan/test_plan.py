"""From specs to trials: points, names, keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework._errors import SpecError
from framework._executors.ray_tune import expand
from framework._executors.session import plan_all
from framework._plan import TrialPlan, make_plans, short, short_names
from framework._registry import Registry
from framework._spec import load

Plan = Callable[..., list[TrialPlan]]

SPEC = {
    "model": "convnet",
    "data": "{name: digits, validation: 0.2}",
    "stages": "[{train: {epochs: 2}}, {prune: {amount: 0.5}}, {train: {epochs: 1}}]",
}


def stages(middle: str, train: str = "{epochs: 2}") -> str:
    return f"[{{train: {train}}}, {middle}, {{train: {{epochs: 1}}}}]"


@pytest.fixture
def plan(registry: Registry, tmp_path: Path) -> Plan:
    """The trials of a small spec in which some values are changed."""

    def make(*sets: str, **changes: str) -> list[TrialPlan]:
        file = tmp_path / "small.yaml"
        file.write_text("\n".join(f"{key}: {value}" for key, value in {**SPEC, **changes}.items()))
        return make_plans(load(file, registry, sets), expand)

    return make


# --- keys ----------------------------------------------------------------------------------------------------------


def test_there_is_a_key_for_the_network_and_one_for_each_stage(plan: Plan) -> None:
    [trial] = plan()
    assert len(trial.keys) == len(set(trial.keys)) == 4
    assert trial.key == trial.keys[-1]
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in trial.keys)


@pytest.mark.parametrize(
    ("changes", "shared"),
    [
        ({"model": "{name: convnet, widths: [3]}"}, 0),
        ({"data": "{name: digits, validation: 0.3}"}, 0),
        ({"data": "{name: digits, validation: 0.2, augment: [crop]}"}, 0),
        ({"seeds": "[1]"}, 0),
        ({"stages": "[{train: {epochs: 3}}, {prune: {amount: 0.5}}, {train: {epochs: 1}}]"}, 1),
        ({"stages": "[{train: {epochs: 2}}, {prune: {amount: 0.6}}, {train: {epochs: 1}}]"}, 2),
        ({"stages": "[{train: {epochs: 2}}, {prune: {amount: 0.5}}, {train: {epochs: 1, batch_size: 1}}]"}, 3),
        ({"stages": "[{train: {epochs: 2}}, test, {prune: {amount: 0.5}}, {train: {epochs: 1}}]"}, 2),
        ({"defaults": "{train: {optimizer: {name: sgd, lr: 0.5}}}"}, 1),
    ],
)
def test_what_determines_the_state_changes_the_keys_from_there_on(
    plan: Plan, changes: dict[str, str], shared: int
) -> None:
    [before], [after] = plan(), plan(**changes)
    equal = [one == other for one, other in zip(before.keys, after.keys, strict=False)]
    assert equal == [True] * shared + [False] * (len(equal) - shared)


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "another", "description": "Other words."},
        {"resources": "{cpu: 2, gpu: 0, timeout: 5, retries: 3}"},
        {"seeds": "[0]"},
        {"model": "{name: convnet}"},
        {"stages": stages("{prune: {amount: 0.5, criterion: magnitude}}", train="{epochs: 2, loss: null}")},
        {"stages": stages("{prune: {amount: 5e-1}}", train="{epochs: 2, schedule: {name: constant}}")},
        {"stages": stages("{repeat: {times: 1, stages: [{prune: {amount: 0.5}}]}}")},
        {"stages": "[train, {prune: {amount: 0.5}}, {train: {epochs: 1}}]", "defaults": "{train: {epochs: 2}}"},
    ],
)
def test_what_does_not_determine_the_state_does_not_change_the_keys(plan: Plan, changes: dict[str, str]) -> None:
    [before], [after] = plan(), plan(**changes)
    assert after.keys == before.keys


def test_trials_share_the_keys_of_what_they_have_in_common(plan: Plan) -> None:
    low, high = plan("stages.1.prune.amount={grid_search: [0.2, 0.4]}")
    assert low.keys[:2] == high.keys[:2]
    assert not set(low.keys[2:]) & set(high.keys[2:])
    one, other = plan(seeds="[0, 1]")
    assert not set(one.keys) & set(other.keys)


def test_a_trial_keeps_its_keys_whatever_else_is_swept(plan: Plan) -> None:
    [alone] = plan()
    swept = plan("stages.1.prune.amount={grid_search: [0.4, 0.5]}", seeds="[1, 0]")
    assert alone.keys in [trial.keys for trial in swept]


# --- trials --------------------------------------------------------------------------------------------------------


def test_a_grid_has_every_point_with_every_seed(plan: Plan) -> None:
    trials = plan(
        "stages.1.prune.amount={grid_search: [0.2, 0.4]}",
        "stages.0.train.epochs={grid_search: [1, 2, 3]}",
        seeds="[4, 5]",
    )
    points = {(t.swept["prune.amount"], t.swept["train.epochs"], t.seed) for t in trials}
    assert len(trials) == len(points) == 12
    assert {t.epochs for t in trials} == {2, 3, 4}
    assert trials[0].experiment == "small"


def test_plans_are_plain_and_whole(plan: Plan) -> None:
    [trial] = plan()
    assert trial.data == {"dataset": {"name": "digits"}, "validation": 0.2, "augment": []}
    assert trial.stages[1]["name"] == "prune"
    assert trial.stages[1]["amount"] == 0.5
    assert trial.stages[0]["optimizer"]["name"] == "sgd"
    assert "momentum" in trial.stages[0]["optimizer"]
    assert trial.variant == ""
    assert trial.name == "seed=0"


def test_equal_points_are_one_trial(plan: Plan) -> None:
    trials = plan("stages.1.prune.amount={choice: [0.2, 0.4]}", search="{samples: 30}")
    assert sorted(trial.name for trial in trials) == ["prune.amount=0.2 seed=0", "prune.amount=0.4 seed=0"]
    # A parameter at its default and the same left out are one point.
    trials = plan("stages.0.train.optimizer={grid_search: [sgd, {name: sgd}]}")
    assert len(trials) == 1


def test_a_random_search_is_drawn_again_the_same_and_otherwise_with_another_seed(plan: Plan) -> None:
    setting = "stages.1.prune.amount={uniform: [0.1, 0.9]}"
    draws = [
        [trial.swept["prune.amount"] for trial in plan(setting, search=search)]
        for search in ("{samples: 5}", "{samples: 5}", "{samples: 5, seed: 1}")
    ]
    assert draws[0] == draws[1]
    assert not set(draws[0]) & set(draws[2])
    assert len(set(draws[0])) == 5
    assert all(type(draw) is float and 0.1 <= draw <= 0.9 for draw in draws[0])


def test_integers_are_drawn_below_the_upper_bound(plan: Plan) -> None:
    trials = plan("stages.0.train.epochs={randint: [1, 4]}", search="{samples: 40}")
    assert {trial.swept["train.epochs"] for trial in trials} == {1, 2, 3}
    assert all(type(trial.stages[0]["epochs"]) is int for trial in trials)


def test_a_space_inside_of_a_candidate_is_told_by_its_value(plan: Plan) -> None:
    [trial] = plan("stages.1={choice: [{prune: {amount: {choice: [0.4]}}}]}", search="{samples: 1}")
    assert trial.swept == {"stages.1": {"prune": {"amount": 0.4}}, "prune.amount": 0.4}


def test_values_that_do_not_go_together_are_told_with_their_place(plan: Plan) -> None:
    with pytest.raises(SpecError, match=r"small.yaml:\d+:\d+ stages.0.train: .*give either epochs or steps"):
        plan("stages.0.train.steps={grid_search: [null, 5]}", "stages.0.train.epochs={grid_search: [null, 1]}")


def test_two_specs_of_one_name_are_refused(registry: Registry, tmp_path: Path) -> None:
    specs = []
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("\n".join(f"{key}: {value}" for key, value in {**SPEC, "name": "x"}.items()))
        specs.append(load(tmp_path / name, registry))
    with pytest.raises(SpecError, match=r"b.yaml name: 'x' is the name of .*a.yaml too"):
        plan_all(specs)


# --- names ---------------------------------------------------------------------------------------------------------


def test_short_names_leave_out_where_the_value_stands() -> None:
    names = short_names(
        [("stages", 1, "prune", "amount"), ("defaults", "train", "batch_size"), ("model",), ("stages", 0)]
    )
    assert list(names.values()) == ["train.batch_size", "model", "stages.0", "prune.amount"]


def test_names_that_would_be_the_same_are_whole() -> None:
    paths = [("stages", 0, "train", "epochs"), ("stages", 2, "train", "epochs"), ("stages", 1, "prune", "amount")]
    assert set(short_names(paths).values()) == {"stages.0.train.epochs", "stages.2.train.epochs", "prune.amount"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.2, "0.2"),
        (5e-4, "0.0005"),
        (1, "1"),
        (True, "True"),
        (None, "None"),
        ("cosine", "cosine"),
        ([512, 100], "[512, 100]"),
        ({"name": "sgd"}, "sgd"),
        ({"name": "sgd", "lr": 0.1}, "sgd(lr=0.1)"),
        ({"prune": {"amount": 0.5}}, "prune(amount=0.5)"),
        (
            {"train": {"optimizer": {"name": "sgd", "lr": 1e30}, "epochs": 1}},
            "train(optimizer=sgd(lr=1e+30), epochs=1)",
        ),
        ({"train": None}, "train"),
    ],
)
def test_a_swept_value_is_told_in_few_words(value: Any, expected: str) -> None:
    assert short(value) == expected


def test_variants_of_one_component_are_told_by_what_sets_them_apart(plan: Plan) -> None:
    trials = plan("model={grid_search: [{name: convnet, widths: [3]}, {name: convnet, widths: [4]}, {name: convnet}]}")
    assert len({trial.variant for trial in trials}) == 3
    assert [trial.variant for trial in trials][:2] == ["model.widths=[3]", "model.widths=[4]"]


def test_settings_of_a_stage_are_told_one_by_one_with_what_is_swept_inside_them(plan: Plan) -> None:
    amounts = "amount: {grid_search: [0.5, 0.9]}"
    trials = plan(f"stages.1.prune={{grid_search: [{{{amounts}}}, {{layers: [fc], {amounts}}}]}}")
    assert [trial.variant for trial in trials] == [
        "prune.amount=0.5",
        "prune.amount=0.9",
        "prune.layers=[fc] prune.amount=0.5",
        "prune.layers=[fc] prune.amount=0.9",
    ]


def test_values_that_differ_late_are_told_apart(plan: Plan) -> None:
    trials = plan("stages.1.prune.amount={grid_search: [0.99999683772, 0.99999822172]}")
    assert [trial.variant for trial in trials] == ["prune.amount=0.99999683772", "prune.amount=0.99999822172"]
