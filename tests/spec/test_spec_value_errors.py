"""Mistakes in components, search spaces and defaults."""

from pathlib import Path

import pytest
from spec_catalog import GOOD, mistakes, stages


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


COMPONENTS = [
    ("model: 3\n", ["s.yaml:1:8 model: must be the name of a model or a mapping with its name (valid: convnet, mlp)"]),
    ("model: {name: mpl}\n", ["s.yaml:1:15 model.name: unknown model 'mpl' (did you mean 'mlp'?)"]),
    (
        "model: {name: mlp, hiden: [3], hidden: [3, x]}\n",
        [
            "s.yaml:1:20 model.hiden: model 'mlp' has no parameter 'hiden' (did you mean 'hidden'?)",
            "s.yaml:1:44 model.hidden.1: must be an integer, not 'x'",
        ],
    ),
    ("data: digist\n", ["s.yaml:1:7 data: unknown dataset 'digist' (did you mean 'digits'?)"]),
    ("data: npz\n", ["s.yaml:1:7 data: dataset 'npz' needs parameter 'path'"]),
    (
        "data: {name: digits, valdation: 0.1}\n",
        ["s.yaml:1:22 data.valdation: dataset 'digits' has no parameter 'valdation' (did you mean 'validation'?)"],
    ),
    (
        "data: {name: digits, validation: 1}\n",
        ["s.yaml:1:34 data.validation: must be a number >= 0 and < 1, not 1"],
    ),
    (
        "data: {name: digits, augment: [crop, crop, flop]}\n",
        [
            "s.yaml:1:38 data.augment.1: 'crop' is in this list already",
            "s.yaml:1:44 data.augment.2: unknown augmentation 'flop' (did you mean 'flip'?)",
        ],
    ),
    (
        "data: {name: digits, augment: crop}\n",
        ["s.yaml:1:31 data.augment: must be a list of any of crop, flip, cutout, not 'crop'"],
    ),
]

OPTIMIZERS = [
    ("sdg", ["s.yaml:4:35 stages.0.train.optimizer: unknown optimizer 'sdg' (did you mean 'sgd'?)"]),
    ("{name: sdg}", ["s.yaml:4:42 stages.0.train.optimizer.name: unknown optimizer 'sdg' (did you mean 'sgd'?)"]),
    ("{name: sgd, lr: -1}", ["s.yaml:4:35 stages.0.train.optimizer: optimizer 'sgd': Invalid learning rate: -1.0"]),
    (
        "{name: sgd, momentun: 0.9}",
        [
            "s.yaml:4:47 stages.0.train.optimizer.momentun: "
            "optimizer 'sgd' has no parameter 'momentun' (did you mean 'momentum'?)"
        ],
    ),
    ("{lr: x}", ["s.yaml:4:40 stages.0.train.optimizer.lr: must be a number, not 'x'"]),
]

SPACES = [
    ("{grid_search: []}", ["s.yaml:4:35 {}.grid_search: empty grid"]),
    ("{choice: []}", ["s.yaml:4:30 {}.choice: empty choice"]),
    ("{grid_search: 0.1}", ["s.yaml:4:35 {}.grid_search: grid_search needs a list of candidates, not 0.1"]),
    ("{grid_search: [0.1, 0.1]}", ["s.yaml:4:41 {}.grid_search.1: 0.1 is in this grid already"]),
    (
        "{grid_search: [1, true]}",
        [
            "s.yaml:4:36 {}.grid_search.0: must be < 1, not 1",
            "s.yaml:4:39 {}.grid_search.1: must be a number, not true",
        ],
    ),
    (
        "{grid_search: [0.1, {a: [1]}, {a: [1]}]}",
        [
            "s.yaml:4:41 {}.grid_search.1: must be a number, not {'a': [1]}",
            "s.yaml:4:51 {}.grid_search.2: must be a number, not {'a': [1]}",
            "s.yaml:4:51 {}.grid_search.2: {'a': [1]} is in this grid already",
        ],
    ),
    (
        "{grid_serach: [0.1]}",
        ["s.yaml:4:22 {}.grid_serach: unknown search space 'grid_serach' (did you mean 'grid_search'?)"],
    ),
    (
        "{grid_search: [0.1, 1.5, x]}",
        [
            "s.yaml:4:41 {}.grid_search.1: must be < 1, not 1.5",
            "s.yaml:4:46 {}.grid_search.2: must be a number, not 'x'",
        ],
    ),
    (
        "{grid_search: [0.1, {choice: [0.2, 7]}]}",
        ["s.yaml:4:56 {}.grid_search.1.choice.1: must be < 1, not 7"],
    ),
    ("{uniform: [0.5]}", ["s.yaml:4:31 {}.uniform: uniform needs [low, high], two numbers, not [0.5]"]),
    ("{uniform: [0.5, .inf]}", ["s.yaml:4:31 {}.uniform: uniform needs [low, high], two numbers, not [0.5, inf]"]),
    ("{uniform: [0.5, 0.1]}", ["s.yaml:4:31 {}.uniform: uniform needs low < high, not [0.5, 0.1]"]),
    ("{uniform: [0.5, 1.5]}", ["s.yaml:4:37 {}.uniform.1: must be < 1, not 1.5"]),
    ("{loguniform: [0, 0.1]}", ["s.yaml:4:35 {}.loguniform.0: loguniform needs low > 0, not 0"]),
    ("{randint: [1.0, 3]}", ["s.yaml:4:31 {}.randint: randint needs [low, high], two integers, not [1.0, 3]"]),
]

DEFAULTS = [
    ("defaults: 3\n", ["s.yaml:4:11 defaults: must be a mapping of stages and their parameters, not 3"]),
    (
        "defaults: {train: 3, trian: {}, prune: {amount: 0.1}}\n",
        [
            "s.yaml:4:19 defaults.train: must be a mapping of parameters, not 3",
            "s.yaml:4:22 defaults.trian: unknown stage 'trian' (did you mean 'train'?)",
            "s.yaml:4:33 defaults.prune: no variant has a stage 'prune'",
        ],
    ),
    (
        "defaults: {train: {epochs: 3, optimzer: sgd, optimizer: {name: sgd, lr: x}}}\n",
        [
            "s.yaml:4:28 defaults.train.epochs: no variant uses this: every stage 'train' gives its own",
            "s.yaml:4:31 defaults.train.optimzer: stage 'train' has no parameter 'optimzer' "
            "(did you mean 'optimizer'?)",
            "s.yaml:4:73 defaults.train.optimizer.lr: must be a number, not 'x'",
        ],
    ),
    ("defaults: {train: {name: x}}\n", ["s.yaml:4:26 defaults.train.name: stage 'train' has no parameter 'name'"]),
    (
        "defaults: {train: {optimizer: {grid_search: [sgd, sdg]}}}\n",
        ["s.yaml:4:51 defaults.train.optimizer.grid_search.1: unknown optimizer 'sdg' (did you mean 'sgd'?)"],
    ),
]


@pytest.mark.parametrize(("text", "expected"), COMPONENTS)
def test_malformed_model_or_data(text: str, expected: list[str]) -> None:
    other = "data: digits\n" if text.startswith("model") else "model: convnet\n"
    assert mistakes(text + other + "stages: [unprune]\n") == expected


@pytest.mark.parametrize(("text", "expected"), OPTIMIZERS)
def test_malformed_component_of_a_stage(text: str, expected: list[str]) -> None:
    assert mistakes(stages(f"train: {{epochs: 1, optimizer: {text}}}")) == expected


@pytest.mark.parametrize(("text", "expected"), SPACES)
def test_malformed_search_space(text: str, expected: list[str]) -> None:
    path = "stages.0.prune.amount"
    assert mistakes(stages(f"prune: {{amount: {text}}}")) == [line.replace("{}", path) for line in expected]


@pytest.mark.parametrize(("text", "expected"), DEFAULTS)
def test_malformed_defaults(text: str, expected: list[str]) -> None:
    assert mistakes(GOOD + text) == expected
