"""The JSON schema says the same as the validation, as far as an editor can tell."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from spec_catalog import CATALOG

from framework._registry import installed
from framework._spec import load, schema

jsonschema = pytest.importorskip("jsonschema")

START = "model: convnet\ndata: digits\n"


def mistakes(text: str, described: Any = None) -> list[Any]:
    validator = jsonschema.Draft202012Validator(described or schema(CATALOG))
    return [error.json_path for error in validator.iter_errors(yaml.safe_load(text))]


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema(CATALOG))
    jsonschema.Draft202012Validator.check_schema(schema(installed()))


@pytest.mark.parametrize(
    "text",
    [
        START + "stages: [unprune]\n",
        "extends: base.yaml\nmodel: {width: 3}\n",
        START + "stages: [{train: {epochs: 1, optimizer: {name: sgd, lr: {loguniform: [0.1, 1]}}}}, {unprune: null}]\n",
        START + "stages: [{repeat: {times: 2, stages: [unprune, {repeat: {times: 2, stages: [train]}}]}}]\n",
        START + "stages: [{grid_search: [unprune, {prune: {amount: 0.5}}]}]\n",
        START + "stages: [{train: {early_stopping: {patience: {choice: [1, 2]}}}}, {train: {optimizer: {lr: 0.1}}}]\n",
        START + "stages: [unprune]\ndefaults: {train: {epochs: 1}, prune: {grid_search: [{amount: 0.1}]}}\n",
        "model: {grid_search: [mlp, {name: mlp, hidden: [3, {randint: [1, 9]}]}]}\n"
        "data: {name: npz, path: a, validation: 0, augment: [flip]}\nstages: [train]\nname: a b\nseeds: [1, 2]\n"
        "search: {samples: 3, seed: 1}\nresources: {cpu: 0.5, gpu: auto, timeout: 0.5, retries: 0}\n",
        START + "stages: [unprune]\nresources: {timeout: null}\n",
        START + "stages: [unprune]\nresources: {cpu: auto, threads: [4, 1]}\n",
        START + "stages: [unprune]\nresources: {threads: auto}\n",
        START + "stages: [unprune]\nresources: {gpu: 4, processes: 4}\n",
        START + "stages: [unprune]\nsearch: {algorithm: optuna, samples: 20, metric: val/loss, scheduler: asha}\n",
        START + "stages: [unprune]\nsearch: {mode: max, scheduler: {name: asha, reduction_factor: 2.5}}\n",
        START + "stages: [unprune]\nsearch: {scheduler: null}\n",
    ],
)
def test_good_spec_passes(text: str) -> None:
    assert mistakes(text) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("model: convnet\nstages: [unprune]\n", "$"),
        (START + "stages: [unprune]\nseed: 3\n", "$"),
        (START + "stages: []\n", "$.stages"),
        (START + "stages: [trian]\n", "$.stages"),
        (START + "stages: [{train: {epohcs: 1}}]\n", "$.stages"),
        (START + "stages: [{train: {epochs: 0}}]\n", "$.stages"),
        (START + "stages: [{train: {}, unprune: {}}]\n", "$.stages"),
        (START + "stages: [{train: {optimizer: {name: sgd, momentun: 1}}}]\n", "$.stages"),
        (START + "stages: [{prune: {amount: {uniform: [1]}}}]\n", "$.stages"),
        (START + "stages: [{repeat: {times: 2}}]\n", "$.stages"),
        (START + "stages: [unprune]\ndefaults: {trian: {}}\n", "$.defaults"),
        (START + "stages: [unprune]\nname: a/b\n", "$.name"),
        (START + "stages: [unprune]\nresources: {gpu: many}\n", "$.resources.gpu"),
        (START + "stages: [unprune]\nresources: {gpu: 1.5}\n", "$.resources.gpu"),
        (START + "stages: [unprune]\nresources: {processes: 0}\n", "$.resources.processes"),
        (START + "stages: [unprune]\nresources: {timeout: 0}\n", "$.resources.timeout"),
        (START + "stages: [unprune]\nresources: {retries: 1.5}\n", "$.resources.retries"),
        (START + "stages: [unprune]\nresources: {threads: []}\n", "$.resources.threads"),
        (START + "stages: [unprune]\nsearch: {algorithm: optnua}\n", "$.search.algorithm"),
        (START + "stages: [unprune]\nsearch: {mode: maximum}\n", "$.search.mode"),
        (START + "stages: [unprune]\nsearch: {scheduler: {grace_period: 2}}\n", "$.search.scheduler"),
        (START + "stages: [unprune]\nsearch: {scheduler: {name: asha, grace_period: 0}}\n", "$.search.scheduler"),
        (START + "stages: [unprune]\nscheduler: asha\n", "$"),
        ("model: resnet\ndata: digits\nstages: [unprune]\n", "$.model"),
        ("model: {name: mlp, hidden: [x]}\ndata: digits\nstages: [unprune]\n", "$.model"),
        ("model: mlp\ndata: {name: digits, augment: [flop]}\nstages: [unprune]\n", "$.data"),
        ("model: mlp\ndata: {name: digits, validation: 1}\nstages: [unprune]\n", "$.data"),
    ],
)
def test_bad_spec_does_not_pass(text: str, path: str) -> None:
    assert mistakes(text) == [path]


def test_descriptions_come_from_docstrings() -> None:
    definitions = schema(CATALOG)["$defs"]
    assert definitions["model"]["anyOf"][1]["description"] == "A small network."
    stage = definitions["stages"]["anyOf"][0]["items"]["anyOf"][1]["properties"]["train"]
    assert stage["description"] == "Train the network."


@pytest.mark.parametrize(
    "spec", sorted(Path(__file__).parents[2].glob("experiments/**/*.yaml")), ids=lambda path: path.stem
)
def test_experiment_is_valid_and_passes(spec: Path) -> None:
    load(spec, installed())
    # PyYAML itself takes 5e-4 for a string.
    assert mistakes(spec.read_text().replace("5e-4", "0.0005"), schema(installed())) == []


def test_what_parameters_mean_is_there_for_editors() -> None:
    text = json.dumps(schema(installed()))
    assert "passes over the training set" in text
    assert "without improvement after which to stop" in text
