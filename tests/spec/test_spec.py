"""What a good spec means."""

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_catalog import DEFAULTS, GOOD, START, read, resolved

from framework import SpecError, hookimpl
from framework._measures import Measures
from framework._registry import Registry
from framework._spec import ExperimentSpec, SearchSpec, Space, load
from framework._spec.document import parse
from framework._spec.search import SchedulerSpec
from framework._spec.space import fill, sweep


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


ALONE = {"processes": 1}


# --- the file ----------------------------------------------------------------------------------------------------


def test_what_is_left_out_has_defaults() -> None:
    spec = read(GOOD)
    assert (spec.file, spec.name, spec.description) == (Path("study.yaml"), "study", "")
    assert (spec.seeds, spec.search) == ((0,), SearchSpec())
    assert spec.resources == {"cpu": "auto", "gpu": "auto", "timeout": None, "retries": 1, "threads": "auto", **ALONE}
    assert spec.tree == {"model": "convnet", "data": "digits", "stages": [{"train": {"epochs": 1}}]}
    assert spec.spaces == ()


@pytest.mark.parametrize(
    ("resources", "gpu", "processes"),
    [
        ("{gpu: 4}", 4, 4),
        ("{gpu: 4, processes: 4}", 4, 4),
        ("{gpu: 0, processes: 3}", 0, 3),
        ("{processes: 2}", "auto", 2),
        ("{gpu: 1}", 1, 1),
        ("{gpu: 0.25}", 0.25, 1),
        ("{gpu: 0.25, processes: 1}", 0.25, 1),
    ],
)
def test_each_of_several_gpus_has_a_process(resources: str, gpu: object, processes: int) -> None:
    found = read(GOOD + f"resources: {resources}\n").resources
    assert (found["gpu"], found["processes"]) == (gpu, processes)


def test_everything_can_be_given() -> None:
    spec = read(
        "name: other\ndescription: Why.\nmodel: {name: convnet, width: {randint: [1, 9]}}\ndata: digits\n"
        "seeds: [3, 1]\nstages: [unprune]\nsearch: {samples: 5, seed: 7}\n"
        "resources: {cpu: 0.5, gpu: 0, timeout: 90.5, retries: 0, threads: [2, 1]}\n"
    )
    assert (spec.name, spec.description) == ("other", "Why.")
    assert (spec.seeds, spec.search) == ((3, 1), SearchSpec(samples=5, seed=7))
    assert spec.resources == {"cpu": 0.5, "gpu": 0, "timeout": 90.5, "retries": 0, "threads": [2, 1], **ALONE}


def test_data_has_options_beside_its_dataset() -> None:
    spec = read("model: convnet\ndata: {name: npz, path: a.npz, validation: 0, augment: [flip]}\nstages: [unprune]\n")
    data = spec.resolve(spec.tree).data
    assert (data.dataset.name, data.validation, data.augment) == ("npz", 0.0, ("flip",))
    assert data.plain() == {
        "dataset": {"name": "npz", "path": "a.npz", "mean": None},
        "validation": 0.0,
        "augment": ["flip"],
    }
    assert data.plain(identity=True) == {
        "dataset": {"name": "npz", "source": "test 1", "path": "a.npz"},
        "validation": 0.0,
        "augment": ["flip"],
    }


def test_identity_of_data_leaves_defaults_out() -> None:
    spec = read(GOOD)
    identity = spec.resolve(spec.tree).data.plain(identity=True)
    assert identity == {"dataset": {"name": "digits", "source": "test 1"}}


def test_merge_keys_and_aliases_are_followed() -> None:
    text = START + "stages:\n  - train: &a {epochs: 2, optimizer: sgd}\n  - train: {<<: *a, epochs: 3}\n  - train: *a\n"
    assert [stage["epochs"] for stage in resolved(text)] == [2, 3, 2]


def test_first_of_several_merged_mappings_wins() -> None:
    text = "resources: {<<: [{cpu: 2}, {cpu: 3, gpu: 1}]}\n"
    resources = read(GOOD + text).resources
    assert (resources["cpu"], resources["gpu"]) == (2, 1)


def test_no_timeout_can_be_said_and_set() -> None:
    text = GOOD + "resources: {timeout: 60, retries: 2}\n"
    assert read(text, "resources.timeout=null", "resources.retries=3").resources["timeout"] is None
    assert read(text, "resources.timeout=null", "resources.retries=3").resources["retries"] == 3


def test_yaml_one_point_one_words_are_strings() -> None:
    for word in ("on", "off", "yes", "no", "y", "2026-01-01", "1:30", "1_000"):
        assert read(GOOD + f"description: {word}\n").description == word


def parsed(text: str) -> Any:
    return parse(text, "test", [])(()).plain()


@given(st.floats(-1e308, 1e308), st.sampled_from(["{!r}", "{:e}", "{:.3E}", "{:+.4f}"]))
def test_every_way_to_write_a_float_is_a_float(value: float, form: str) -> None:
    text = form.format(value)
    read_back = parsed(text)
    assert type(read_back) is float
    assert read_back == float(text)


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["{}", "{:+}", "{:05d}"]))
def test_every_way_to_write_an_integer_is_an_integer(value: int, form: str) -> None:
    read_back = parsed(form.format(value))
    assert type(read_back) is int
    assert read_back == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-4", 5e-4), ("1e3", 1e3), ("1.", 1.0), (".5", 0.5), ("+.5E+1", 5.0), ("0x1F", 31), ("0o17", 15),
        ("010", 10), ("true", True), ("FALSE", False), ("~", None), ("", None), ("'5e-4'", "5e-4"), ("e4", "e4"),
        ("1e", "1e"), ("!!str 5", "5"), ("!!float 5", 5.0),
        (".inf", float("inf")), ("-.Inf", -float("inf")),
    ],
)  # fmt: skip
def test_scalar_has_the_type_it_looks_like(text: str, value: Any) -> None:
    read_back = parsed(text)
    assert read_back == value
    assert type(read_back) is type(value)


# --- bases -------------------------------------------------------------------------------------------------------

BASE = """\
name: base
description: From the base.
model: {name: convnet, width: 4}
data: {name: digits, validation: 0.2}
seeds: [0, 1]
defaults: {train: {epochs: 2, optimizer: {name: sgd, lr: 0.1}}, prune: {scope: layer}}
stages: [train, {prune: {amount: 0.5}}]
"""


def extended(text: str) -> ExperimentSpec:
    Path("bases").mkdir()
    Path("bases/base.yaml").write_text(BASE)
    return read("extends: bases/base.yaml\n" + text)


def test_base_gives_what_the_spec_leaves_out_but_its_name() -> None:
    spec = extended("")
    assert (spec.name, spec.description, spec.seeds) == ("study", "From the base.", (0, 1))


def test_mappings_merge_and_lists_replace() -> None:
    spec = extended("model: {width: 6}\ndata: {augment: [crop]}\nseeds: [5]\ndefaults: {train: {optimizer: {lr: 1}}}\n")
    assert spec.tree["model"] == {"name": "convnet", "width": 6}
    assert spec.tree["data"] == {"name": "digits", "validation": 0.2, "augment": ["crop"]}
    assert spec.tree["defaults"]["train"] == {"epochs": 2, "optimizer": {"name": "sgd", "lr": 1}}
    assert spec.seeds == (5,)


def test_another_component_replaces_the_bases() -> None:
    spec = extended("model: {name: mlp}\ndata: npz\n".replace("npz", "{name: npz, path: a}"))
    assert spec.tree["model"] == {"name": "mlp"}
    assert spec.tree["data"] == {"name": "npz", "path": "a"}


def test_search_space_replaces_the_bases_value() -> None:
    assert extended("model: {grid_search: [convnet, mlp]}\n").tree["model"] == {"grid_search": ["convnet", "mlp"]}


def test_base_may_have_defaults_that_the_spec_does_not_use() -> None:
    assert extended("stages: [unprune]\n").tree["stages"] == ["unprune"]


def test_bases_have_bases() -> None:
    Path("middle.yaml").write_text("extends: bases/base.yaml\nseeds: [7]\n")
    Path("bases").mkdir()
    Path("bases/base.yaml").write_text(BASE)
    spec = read("extends: middle.yaml\n")
    assert (spec.seeds, spec.tree["model"]["width"]) == ((7,), 4)


# --- stages ------------------------------------------------------------------------------------------------------


def test_stages_come_bare_null_and_with_parameters() -> None:
    text = START + "stages: [unprune, {unprune: }, {prune: {amount: 0.5}}]\n"
    assert resolved(text) == [{"name": "unprune"}, {"name": "unprune"}, {"name": "prune", "amount": 0.5}]


def test_repetitions_nest_and_are_written_out() -> None:
    inner = "{repeat: {times: 2, stages: [{prune: {amount: 0.5}}]}}"
    text = START + f"stages: [{{repeat: {{times: 2, stages: [unprune, {inner}]}}}}, {{train: {{steps: 3}}}}]\n"
    assert [stage["name"] for stage in resolved(text)] == [*["unprune", "prune", "prune"] * 2, "train"]


def test_a_repetition_of_0_times_leaves_its_stages_out_but_not_all_of_a_trial() -> None:
    repeat = "{repeat: {times: 0, stages: [unprune]}}"
    assert [stage["name"] for stage in resolved(START + f"stages: [{repeat}, {{train: {{steps: 3}}}}]\n")] == ["train"]
    with pytest.raises(SpecError, match="stages: there is no stage left, as all of them are repeated 0 times"):
        resolved(START + f"stages: [{repeat}]\n")


@pytest.mark.parametrize(
    ("own", "optimizer"),
    [
        ("{}", {"name": "sgd", "lr": 0.1}),
        ("{optimizer: sgd}", {"name": "sgd", "lr": 0.1}),
        ("{optimizer: {lr: 0.2}}", {"name": "sgd", "lr": 0.2}),
        ("{optimizer: {name: sgd, momentum: 0.9}}", {"name": "sgd", "lr": 0.1, "momentum": 0.9}),
        ("{optimizer: adamw}", {"name": "adamw"}),
        ("{optimizer: {name: adamw, eps: 0.1}}", {"name": "adamw", "eps": 0.1}),
    ],
)
def test_defaults_lie_under_a_stages_own_parameters(own: str, optimizer: dict[str, Any]) -> None:
    stages = resolved(DEFAULTS + f"stages: [train, {{train: {own}}}]\n")
    assert stages[1] == {"name": "train", "epochs": 4, "optimizer": optimizer}


def test_default_that_is_a_bare_name_takes_parameters() -> None:
    text = START + "defaults: {train: {epochs: 4, optimizer: adamw}}\nstages: [{train: {optimizer: {eps: 0.1}}}]\n"
    assert resolved(text)[0]["optimizer"] == {"name": "adamw", "eps": 0.1}


def test_a_broken_component_is_named_where_a_spec_uses_it() -> None:
    class Broken:
        @hookimpl
        def register_models(self) -> Any:
            return {"broken": lambda shape, classes, callback: None}

    Path("study.yaml").write_text(GOOD.replace("convnet", "broken"))
    with pytest.raises(SpecError) as error:
        load("study.yaml", Registry([(Broken(), "third 1")]))
    line = str(error.value).splitlines()[0]
    assert line.startswith("study.yaml:1:8 model: model 'broken' of third 1: parameter 'callback' has no default")


# --- how to search -----------------------------------------------------------------------------------------------

SAMPLED = START + "stages: [{prune: {amount: {uniform: [0.1, 0.2]}}}]\n"


def test_search_can_be_told_by_results() -> None:
    search = read(SAMPLED + "search: {algorithm: optuna, samples: 20, metric: val/loss, scheduler: asha}\n").search
    assert search == SearchSpec(20, 0, "optuna", "val/loss", None, SchedulerSpec("asha", 1, 4))
    assert search.suggests


@pytest.mark.parametrize(
    ("metric", "maximize"),
    [("val/accuracy", True), ("train/loss", False), ("sparsity", True), ("my_loss", False), ("test/rmse", False)],
)
def test_a_loss_should_be_low_and_so_should_what_says_so_of_itself(metric: str, maximize: bool) -> None:
    measures = Measures({"rmse": False, "r2": True})
    search = read(SAMPLED + f"search: {{samples: 2, metric: {metric}}}\n").search
    assert measures.aim(search.metric, search.mode) == (metric, maximize)
    search = read(SAMPLED + f"search: {{samples: 2, metric: {metric}, mode: max}}\n").search
    assert measures.aim(search.metric, search.mode) == (metric, True)


def test_without_a_metric_it_is_the_primary_one_on_the_validation_set() -> None:
    search = read(SAMPLED + "search: {samples: 2}\n").search
    assert Measures({"rmse": False, "r2": True}).aim(search.metric, search.mode) == ("val/rmse", False)
    assert Measures({"r2": True, "rmse": False}).aim(search.metric, search.mode) == ("val/r2", True)


def test_a_scheduler_has_options_and_needs_no_samples() -> None:
    text = GOOD + "search: {scheduler: {name: asha, grace_period: 2, reduction_factor: 2.5}}\n"
    assert read(text).search == SearchSpec(scheduler=SchedulerSpec("asha", 2, 2.5))
    assert read(text, "search.scheduler=null").search == SearchSpec()


def test_where_settings_leave_nothing_to_suggest_nothing_is() -> None:
    search = read(SAMPLED + "search: {algorithm: optuna, samples: 20}\n", "stages.0.prune.amount=0.1").search
    assert search == SearchSpec()


# --- search spaces -----------------------------------------------------------------------------------------------

SPACES = START.replace("convnet", "{grid_search: [convnet, mlp]}") + (
    "defaults:\n  train:\n    epochs: {randint: [1, 4]}\n"
    "    optimizer: {grid_search: [sgd, {name: sgd, lr: {choice: [1, 2]}}]}\n"
    "stages: [train, {grid_search: [unprune, {prune: {amount: {uniform: [0.1, 0.2]}}}]}]\n"
    "search: {samples: 2}\n"
)


def test_spaces_are_found_with_their_paths() -> None:
    optimizer = ("defaults", "train", "optimizer")
    spec = read(SPACES)
    assert [(s.path, s.kind) for s in spec.spaces] == [
        (("model",), "grid_search"),
        (("defaults", "train", "epochs"), "randint"),
        (optimizer, "grid_search"),
        ((*optimizer, "grid_search", 1, "lr"), "choice"),
        (("stages", 1), "grid_search"),
        (("stages", 1, "grid_search", 1, "prune", "amount"), "uniform"),
    ]
    assert spec.spaces[1] == Space(("defaults", "train", "epochs"), "randint", (1, 4))
    assert [s.random for s in spec.spaces] == [False, True, False, True, False, True]


def test_a_point_is_filled_in_from_what_was_chosen() -> None:
    optimizer = ("defaults", "train", "optimizer")
    text = SPACES.replace("grid_search", "choice")
    spec = read(text)
    chosen = dict(zip((space.path for space in spec.spaces), (1, 3, 1, 0, 0, 0.15), strict=True))
    tree, values = fill(spec.tree, chosen)
    assert tree["model"] == "mlp"
    assert tree["defaults"] == {"train": {"epochs": 3, "optimizer": {"name": "sgd", "lr": 1}}}
    assert tree["stages"] == ["train", "unprune"]
    assert list(values.items()) == [
        (("model",), "mlp"),
        (("defaults", "train", "epochs"), 3),
        (optimizer, {"name": "sgd", "lr": 1}),
        ((*optimizer, "lr"), 1),
        (("stages", 1), "unprune"),
    ]
    assert values.keys() <= sweep(spec.spaces).keys()
    assert sweep(spec.spaces)["stages", 1, "prune", "amount"] == [0.1, 0.2]


def test_point_of_the_space_resolves() -> None:
    spec = read(SPACES)
    tree = copy.deepcopy(dict(spec.tree))
    tree["model"] = "mlp"
    tree["defaults"]["train"] = {"epochs": 3, "optimizer": {"name": "sgd", "lr": 2}}
    tree["stages"][1] = {"prune": {"amount": 0.15}}
    point = spec.resolve(tree)
    assert point.model.name == "mlp"
    assert [stage.name for stage in point.stages] == ["train", "prune"]
    assert point.stages[0].params["optimizer"].params["lr"] == 2
    assert spec.resolve(tree).stages[0] is point.stages[0]


def test_default_is_used_if_any_variant_uses_it() -> None:
    optimizer = "{grid_search: [adamw, {name: sgd, momentum: 0.9}]}"
    spec = read(DEFAULTS + f"stages: [{{train: {{optimizer: {optimizer}}}}}]\n")
    assert len(spec.spaces) == 1


def test_space_whose_value_is_set_has_nothing_left_to_sample() -> None:
    text = START + "stages: [{prune: {amount: {uniform: [0.1, 0.2]}}}]\nsearch: {samples: 9, seed: 3}\n"
    assert read(text).search.samples == 9
    assert read(text, "stages.*.prune.amount=0.1").search.samples == 1
