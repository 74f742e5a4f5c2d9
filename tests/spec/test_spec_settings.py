"""``--set`` and ``--seeds``."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spec_catalog import DEFAULTS, GOOD, START, mistakes, read, resolved


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("setting", "part", "expected"),
    [
        ("model=mlp", "model", "mlp"),
        ("model.width=5", "model", {"name": "convnet", "width": 5}),
        ("data.validation=2e-1", "data", {"name": "digits", "validation": 0.2}),
        ("data={name: npz, path: a=b}", "data", {"name": "npz", "path": "a=b"}),
        ("stages=[unprune]", "stages", ["unprune"]),
        ("stages.0=unprune", "stages", ["unprune", "unprune", {"prune": {"amount": 0.1}}]),
        ("stages.2.prune.scope=layer", "stages", ["train", "unprune", {"prune": {"amount": 0.1, "scope": "layer"}}]),
        ("stages.*.train.steps=5", "stages", [{"train": {"steps": 5}}, "unprune", {"prune": {"amount": 0.1}}]),
        ("defaults.train.steps=7", "defaults", {"train": {"steps": 7}}),
    ],
)
def test_setting_changes_the_tree(setting: str, part: str, expected: Any) -> None:
    text = START + "defaults: {train: {steps: 2}}\nstages: [train, unprune, {prune: {amount: 0.1}}]\n"
    assert read(text, setting).tree[part] == expected


def test_settings_apply_in_their_order() -> None:
    assert read(GOOD, "data.name=npz", "data.path=a", "data.path=b").tree["data"] == {"name": "npz", "path": "b"}


def test_setting_reaches_repeated_stages() -> None:
    text = START + "stages: [{repeat: {times: 2, stages: [{train: {epochs: 9}}, unprune]}}, {train: {epochs: 9}}]\n"
    stages = resolved(text, "stages.*.train.epochs=1")
    assert [stage.get("epochs") for stage in stages] == [1, None, 1, None, 1]
    assert len(resolved(text, "stages.0.repeat.times=1")) == 3


def test_setting_passes_through_a_search_space() -> None:
    text = START.replace("convnet", "{grid_search: [mlp, {name: mlp, hidden: [2]}]}") + (
        "stages: [{grid_search: [unprune, {train: {steps: 1}}]}]\n"
    )
    spec = read(text, "model.hidden=[3]", "stages.*.train.steps=4")
    assert spec.tree["model"]["grid_search"] == [{"name": "mlp", "hidden": [3]}] * 2
    assert spec.tree["stages"] == [{"grid_search": ["unprune", {"train": {"steps": 4}}]}]


def test_setting_may_make_a_default_of_the_file_useless() -> None:
    assert resolved(DEFAULTS + "stages: [train]\n", "stages.*.train.epochs=1")[0]["epochs"] == 1
    assert resolved(DEFAULTS + "stages: [train]\n", "stages=[unprune]") == [{"name": "unprune"}]


def test_setting_of_a_missing_part_completes_the_file() -> None:
    assert read("model: convnet\nstages: [unprune]\n", "data=digits").tree["data"] == "digits"


def test_given_seeds_replace_the_files() -> None:
    assert read(GOOD + "seeds: [0, 1, 2]\n", seeds=[4, 5]).seeds == (4, 5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.floats(min_value=0, max_value=1, exclude_max=True))
def test_set_value_arrives_exactly(value: float) -> None:
    spec = read(GOOD, f"data.validation={value!r}")
    assert spec.resolve(spec.tree).data.validation == value


SETTINGS = [
    ("stages.*.trian.epochs=1", "stages.*.trian.epochs: stages has no 'trian' (did you mean 'train'?)"),
    ("stages.5.train.epochs=1", "stages.5.train.epochs: stages has no element '5' (valid: 0 or *)"),
    ("stages.x=unprune", "stages.x: stages has no element 'x' (valid: 0 or *)"),
    ("stages.0.prune.amount=0.1", "stages.0.prune.amount: stages.0 is 'train', not 'prune'"),
    ("stages.0.train.epochs.x=1", "stages.0.train.epochs.x: stages.0.train.epochs is 1, not a mapping"),
    ("stages.*.train.epochs=0", "stages.0.train.epochs: must be >= 1, not 0"),
    ("stags.0=1", "stags.0: a spec has no key 'stags' (did you mean 'stages'?)"),
    ("data.validation=2", "data.validation: must be a number >= 0 and < 1, not 2"),
    ("model.widht=3", "model.widht: model 'convnet' has no parameter 'widht' (did you mean 'width'?)"),
    ("model=mpl", "model: unknown model 'mpl' (did you mean 'mlp'?)"),
    ("defaults.train.epochs=3", "defaults.train.epochs: no variant uses this: every stage 'train' gives its own"),
]


@pytest.mark.parametrize(("setting", "expected"), SETTINGS)
def test_malformed_setting(setting: str, expected: str) -> None:
    assert mistakes(GOOD, setting) == [f"--set {setting} {expected}"]


@pytest.mark.parametrize("setting", ["data", "=3", "data..name=npz"])
def test_setting_that_is_no_assignment(setting: str) -> None:
    assert mistakes(GOOD, setting) == [f"--set {setting}: must be path=value, such as data.validation=0.2"]


def test_setting_with_a_value_that_is_no_yaml() -> None:
    problem = "while parsing a flow node, expected the node content, but found '}'"
    assert mistakes(GOOD, "data={name: [}") == [f"--set data={{name: [}}: {problem}"]


def test_seeds_given_on_the_command_line_are_checked() -> None:
    assert mistakes(GOOD, seeds=[1, 1, -2]) == [
        "--seeds 1,1,-2 seeds.1: seed 1 is in this list already",
        "--seeds 1,1,-2 seeds.2: must be >= 0, not -2",
    ]
