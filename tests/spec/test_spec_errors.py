"""Every mistake in a spec is reported, all at once, each in its place, in these words."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from spec_catalog import CATALOG, GOOD, START, mistakes, stages

from framework._errors import SpecError
from framework._spec import load


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


FILES = [
    ("", ["s.yaml:1:1: the file is empty"]),
    ("# nothing but this\n", ["s.yaml:1:1: the file is empty"]),
    ("- a\n", ["s.yaml:1:1: a spec must be a mapping (model: …, data: …, stages: …)"]),
    ("model: [a\n", ["s.yaml:2:1: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'"]),
    ("model:\n\tname: convnet\n", ["s.yaml:2:1: a tab cannot stand here: indent with spaces"]),
    (b"name: x\nmodel: \xff\n", ["s.yaml:2:8: this is no UTF-8 text (byte 0xff)"]),
    ("model: a\0b\n", ["s.yaml:1:9: the character '\\x00' cannot stand in YAML"]),
    ("a: b: c\n", ["s.yaml:1:5: mapping values are not allowed here"]),
    ("model: " + "[" * 3000, ["s.yaml:1:71: nested too deeply: more than 64 levels"]),
    (GOOD + "---\na: 1\n", ["s.yaml:4:1: expected a single document in the stream, but found another document"]),
    (GOOD + "model: mlp\n", ["s.yaml:4:1 model: repeated key, first given in line 1"]),
    (GOOD + "name: *b\n", ["s.yaml:4:7: found undefined alias 'b'"]),
    (GOOD + "name: !foo bar\n", ["s.yaml:4:7 name: unknown tag '!foo': write the value without it"]),
    (
        stages("prune: {amount: {choice: !x 1}}"),
        ["s.yaml:4:30 stages.0.prune.amount.choice: unknown tag '!x': write the value without it"],
    ),
    (GOOD + "name: !!set {a}\n", ["s.yaml:4:7 name: unknown tag '!!set': write the value without it"]),
    (GOOD + "name: !!int abc\n", ["s.yaml:4:7 name: must be an integer of at most 64 bits, not 'abc'"]),
    (GOOD + "seeds: &a [*a]\n", ["s.yaml:4:8 seeds.0: this value contains itself through an alias"]),
    (GOOD + "resources: &a {<<: *a}\n", ["s.yaml:4:12 resources: this value contains itself through an alias"]),
    (GOOD + "<<: 3\n", ["s.yaml:4:5: << merges a mapping, or a list of mappings"]),
    (
        GOOD + "1: 2\ntrue: 3\n? [a]\n: 4\n",
        [
            "s.yaml:4:1: a key must be a word, not '1': put it in quotes",
            "s.yaml:5:1: a key must be a word, not 'true': put it in quotes",
            "s.yaml:6:3: a key must be a word, not a list or mapping: put it in quotes",
        ],
    ),
    (GOOD + "extends: 3\n", ["s.yaml:4:10 extends: must be the path of another spec, not 3"]),
    ("extends: no.yaml\n", ["s.yaml:1:10 extends: there is no file 'no.yaml'"]),
    ("extends: s.yaml\n", ["s.yaml:1:10 extends: specs extend each other: s.yaml -> s.yaml"]),
]

EXPERIMENT = [
    (GOOD + "modle: mlp\n", ["s.yaml:4:1 modle: a spec has no key 'modle' (did you mean 'model'?)"]),
    ("name: x\n", [f"s.yaml:1:1: a spec needs {key!r}" for key in ("data", "model", "stages")]),
    (GOOD + "name: a/b\n", ["s.yaml:4:7 name: must be a non-empty line without slashes"]),
    (GOOD + "name: 3\n", ["s.yaml:4:7 name: must be a string, not 3"]),
    (GOOD + "description: [a]\n", ["s.yaml:4:14 description: must be a string, not ['a']"]),
    (GOOD + "seeds: 3\n", ["s.yaml:4:8 seeds: must be a list of integers, such as [0, 1, 2], not 3"]),
    (
        GOOD + "seeds: [0, 0, -1, 1.5, true]\n",
        [
            "s.yaml:4:12 seeds.1: seed 0 is in this list already",
            "s.yaml:4:15 seeds.2: must be >= 0, not -1",
            "s.yaml:4:19 seeds.3: must be an integer >= 0, not 1.5",
            "s.yaml:4:24 seeds.4: must be an integer >= 0, not true",
        ],
    ),
    (
        GOOD + "resources: {cpu: 0, gpu: -1, gpus: 1}\n",
        [
            "s.yaml:4:18 resources.cpu: must be auto, or a number from 0.0001 to 4096, not 0",
            "s.yaml:4:26 resources.gpu: must be auto, 0, a number from 0.0001 to 1 "
            "(below 1, trials share a GPU), or several whole GPUs, not -1",
            "s.yaml:4:30 resources.gpus: resources has no key 'gpus' (did you mean 'gpu'?)",
        ],
    ),
    (
        GOOD + "resources: 3\n",
        ["s.yaml:4:12 resources: must be a mapping of cpu, gpu, timeout, retries, threads and processes, not 3"],
    ),
    (
        GOOD + "resources: {threads: [2, 0]}\n",
        ["s.yaml:4:26 resources.threads.1: must be >= 1, not 0"],
    ),
    (
        GOOD + "resources: {threads: 2}\n",
        ["s.yaml:4:22 resources.threads: must be auto, or a list of how many threads each stage uses, not 2"],
    ),
    (
        GOOD + "resources: {gpu: 4, processes: 2}\n",
        [
            "s.yaml:4:32 resources.processes: must be as many as GPUs, of which resources.gpu asks for 4: each process "
            "has one of its own (on CPUs alone: gpu: 0)"
        ],
    ),
    (
        GOOD + "resources: {processes: 2, gpu: 0.5}\n",
        [
            "s.yaml:4:24 resources.processes: must be as many as GPUs, of which resources.gpu asks for 0.5: each "
            "process has one of its own (on CPUs alone: gpu: 0)"
        ],
    ),
    (
        GOOD + "resources: {processes: 0}\n",
        ["s.yaml:4:24 resources.processes: must be >= 1, not 0"],
    ),
    (
        GOOD + "resources: {processes: 1.5, gpu: 2000}\n",
        [
            "s.yaml:4:24 resources.processes: must be an integer >= 1, not 1.5",
            "s.yaml:4:34 resources.gpu: must be auto, 0, a number from 0.0001 to 1 (below 1, trials share a GPU), or "
            "several whole GPUs, not 2000",
        ],
    ),
    (
        GOOD + "resources: {timeout: 0, retries: -1}\n",
        [
            "s.yaml:4:22 resources.timeout: must be a number of seconds from 0.001 to 1,000,000,000, or null, not 0",
            "s.yaml:4:34 resources.retries: must be >= 0, not -1",
        ],
    ),
    (
        GOOD + "resources: {timeout: .inf, retries: 1.5, retrys: 1}\n",
        [
            "s.yaml:4:22 resources.timeout: must be a number of seconds from 0.001 to 1,000,000,000, or null, not inf",
            "s.yaml:4:37 resources.retries: must be an integer >= 0, not 1.5",
            "s.yaml:4:42 resources.retrys: resources has no key 'retrys' (did you mean 'retries'?)",
        ],
    ),
    (
        GOOD + "search: {samples: 0, sede: 1}\n",
        [
            "s.yaml:4:19 search.samples: must be >= 1, not 0",
            "s.yaml:4:22 search.sede: search has no key 'sede' (did you mean 'seed'?)",
        ],
    ),
    (
        GOOD + "search: {samples: 4}\n",
        [
            "s.yaml:4:19 search.samples: nothing to sample: no value is one of choice, uniform, loguniform, randint",
        ],
    ),
    (
        GOOD + "scheduler: asha\nalgorithm: optuna\n",
        [
            "s.yaml:4:1 scheduler: this belongs under search: search: {scheduler: …}",
            "s.yaml:5:1 algorithm: this belongs under search: search: {algorithm: …}",
        ],
    ),
    (
        GOOD + "search: 3\n",
        ["s.yaml:4:9 search: must be a mapping of samples, seed, algorithm, metric, mode and scheduler, not 3"],
    ),
    (
        GOOD + "search: {algorithm: optnua, mode: maximum, metric: 3}\n",
        [
            "s.yaml:4:21 search.algorithm: unknown algorithm 'optnua' (did you mean 'optuna'?)",
            "s.yaml:4:35 search.mode: unknown mode 'maximum' (did you mean 'max'?)",
            "s.yaml:4:52 search.metric: must be the name of a metric, such as val/loss, not 3",
        ],
    ),
    (
        GOOD + "search: {algorithm: {choice: [optuna]}, scheduler: {grid_search: [asha]}}\n",
        [
            "s.yaml:4:21 search.algorithm: a search space can stand in model, data, defaults, stages only",
            "s.yaml:4:52 search.scheduler: a search space can stand in model, data, defaults, stages only",
        ],
    ),
    (
        GOOD + "search: {algorithm: optuna, samples: 9}\n",
        ["s.yaml:4:38 search.samples: nothing to sample: no value is one of choice, uniform, loguniform, randint"],
    ),
    (
        stages("prune: {amount: {uniform: [0.1, 0.2]}}") + "search: {algorithm: optuna}\n",
        ["s.yaml:5:9 search: algorithm 'optuna' needs 'samples': how many points it may try"],
    ),
    (
        stages("prune: {amount: {grid_search: [0.1, 0.2]}}") + "search: {algorithm: optuna, samples: 2}\n",
        [
            "s.yaml:4:22 stages.0.prune.amount.grid_search: algorithm 'optuna' does not go through a grid: "
            "write {choice: [...]}"
        ],
    ),
    (
        GOOD + "search: {scheduler: hyperband}\n",
        ["s.yaml:4:21 search.scheduler: unknown scheduler 'hyperband' (valid: asha)"],
    ),
    (
        GOOD + "search: {scheduler: [asha]}\n",
        [
            "s.yaml:4:21 search.scheduler: must be a scheduler's name, a mapping of it and its options, or null, "
            "not ['asha']"
        ],
    ),
    (
        GOOD + "search: {scheduler: {grace_period: 2}}\n",
        ["s.yaml:4:21 search.scheduler: needs 'name', the scheduler's (valid: asha)"],
    ),
    (
        GOOD + "search: {scheduler: {name: asha, grace_period: 0, reduction_factor: 1, max_t: 3}}\n",
        [
            "s.yaml:4:48 search.scheduler.grace_period: must be >= 1, not 0",
            "s.yaml:4:69 search.scheduler.reduction_factor: must be a number >= 1.1, not 1",
            "s.yaml:4:72 search.scheduler.max_t: scheduler 'asha' has no option 'max_t' "
            "(valid: grace_period, name, reduction_factor)",
        ],
    ),
    (
        GOOD + "seeds: {grid_search: [1, 2]}\nresources: {cpu: {choice: [1, 2]}}\n",
        [
            "s.yaml:4:8 seeds: a search space can stand in model, data, defaults, stages only",
            "s.yaml:5:18 resources.cpu: a search space can stand in model, data, defaults, stages only",
        ],
    ),
]

STAGES = [
    (START + "stages: []\n", ["s.yaml:3:9 stages: must be a list of stages, not an empty one"]),
    (START + "stages: train\n", ["s.yaml:3:9 stages: must be a list of stages, not 'train'"]),
    (START + "stages:\n", ["s.yaml:3:8 stages: must be a list of stages, not null"]),
    (stages("trian: {epochs: 1}"), ["s.yaml:4:5 stages.0.trian: unknown stage 'trian' (did you mean 'train'?)"]),
    (stages("repaet: {times: 2}"), ["s.yaml:4:5 stages.0.repaet: unknown stage 'repaet' (did you mean 'repeat'?)"]),
    (stages("quantize"), ["s.yaml:4:5 stages.0: unknown stage 'quantize' (valid: prune, repeat, train, unprune)"]),
    (stages("3"), ["s.yaml:4:5 stages.0: a stage is a name, or a mapping of its name to parameters, not 3"]),
    (
        stages("train: {epochs: 1}\n    prune: {amount: 0.1}"),
        ["s.yaml:4:5 stages.0: one stage, one name: this has 'train' and 'prune'; begin each stage with '- '"],
    ),
    (stages("train: 3"), ["s.yaml:4:12 stages.0.train: must be a mapping of parameters, not 3"]),
    (stages("train: {epochs: 1.5}"), ["s.yaml:4:21 stages.0.train.epochs: must be an integer, not 1.5"]),
    (stages("prune: {amount: '0.5'}"), ["s.yaml:4:21 stages.0.prune.amount: must be a number, not '0.5'"]),
    (stages("prune: {amount: 1.5}"), ["s.yaml:4:21 stages.0.prune.amount: must be < 1, not 1.5"]),
    (stages("prune: {amount: .nan}"), ["s.yaml:4:21 stages.0.prune.amount: must be a finite number, not nan"]),
    (stages("prune"), ["s.yaml:4:5 stages.0: stage 'prune' needs parameter 'amount'"]),
    (stages("train"), ["s.yaml:4:5 stages.0: stage 'train': give either epochs or steps"]),
    (
        stages("prune: {amount: 0.1, scope: local}"),
        ["s.yaml:4:33 stages.0.prune.scope: must be 'global' or 'layer', not 'local'"],
    ),
    (
        stages("train: {epohcs: 3, epochs: 1}"),
        ["s.yaml:4:13 stages.0.train.epohcs: stage 'train' has no parameter 'epohcs' (did you mean 'epochs'?)"],
    ),
    (
        stages("train: {epochs: 1, name: x}"),
        ["s.yaml:4:24 stages.0.train.name: stage 'train' has no parameter 'name'"],
    ),
    (
        stages("train: {epochs: 1, early_stopping: {patience: 0}}"),
        ["s.yaml:4:51 stages.0.train.early_stopping.patience: must be >= 1, not 0"],
    ),
    (
        stages("repeat: {times: -1, stages: []}", "repeat: 3", "repeat: {time: 3}"),
        [
            "s.yaml:4:21 stages.0.repeat.times: must be >= 0, not -1",
            "s.yaml:4:33 stages.0.repeat.stages: must be a list of stages, not an empty one",
            "s.yaml:5:13 stages.1.repeat: must be a mapping of times and stages, not 3",
            "s.yaml:6:13 stages.2.repeat: repeat needs 'stages'",
            "s.yaml:6:13 stages.2.repeat: repeat needs 'times'",
            "s.yaml:6:14 stages.2.repeat.time: repeat has no key 'time' (did you mean 'times'?)",
        ],
    ),
    (
        stages("repeat: {times: 2, stages: [unprune, {repeat: {times: 2, stages: [{trian: {}}]}}]}"),
        ["s.yaml:4:72 stages.0.repeat.stages.1.repeat.stages.0.trian: unknown stage 'trian' (did you mean 'train'?)"],
    ),
]


@pytest.mark.parametrize(("text", "expected"), [*FILES, *EXPERIMENT, *STAGES])
def test_malformed_spec(text: str | bytes, expected: list[str]) -> None:
    assert mistakes(text) == expected


def test_missing_file_and_folder() -> None:
    with pytest.raises(SpecError, match=r"^no\.yaml: there is no such file$"):
        load("no.yaml", CATALOG)
    with pytest.raises(SpecError, match=r"^\.: cannot be read: Is a directory$"):
        load(".", CATALOG)


def test_every_mistake_of_a_file_is_reported_at_once() -> None:
    text = """\
name: all
modle: convnet
data: {name: digits, validation: 2}
seeds: [0, 0]
stages:
  - train: {epochs: 0, optimizer: {name: sgd, lr: fast}}
  - prune: {amount: {grid_search: []}, scope: local}
  - {grid_search: [unprune, unpruned]}
  - repeat: {times: two, stages: [{train: {}}]}
  - train: {epochs: 1, epochs: 2}
resources: {gpu: many}
"""
    assert mistakes(text) == [
        "s.yaml:1:1: a spec needs 'model'",
        "s.yaml:2:1 modle: a spec has no key 'modle' (did you mean 'model'?)",
        "s.yaml:3:34 data.validation: must be a number >= 0 and < 1, not 2",
        "s.yaml:4:12 seeds.1: seed 0 is in this list already",
        "s.yaml:6:21 stages.0.train.epochs: must be >= 1, not 0",
        "s.yaml:6:51 stages.0.train.optimizer.lr: must be a number, not 'fast'",
        "s.yaml:7:35 stages.1.prune.amount.grid_search: empty grid",
        "s.yaml:7:47 stages.1.prune.scope: must be 'global' or 'layer', not 'local'",
        "s.yaml:8:29 stages.2.grid_search.1: unknown stage 'unpruned' (did you mean 'unprune'?)",
        "s.yaml:9:21 stages.3.repeat.times: must be an integer >= 0, not 'two'",
        "s.yaml:9:43 stages.3.repeat.stages.0.train: stage 'train': give either epochs or steps",
        "s.yaml:10:24 stages.4.train.epochs: repeated key, first given in line 10",
        "s.yaml:11:18 resources.gpu: must be auto, 0, a number from 0.0001 to 1 "
        "(below 1, trials share a GPU), or several whole GPUs, not 'many'",
    ]


def test_mistake_in_a_base_is_reported_in_its_file() -> None:
    Path("base.yaml").write_text(stages("prune: {amount: 2}"))
    assert mistakes("extends: base.yaml\nmodel: mpl\n") == [
        "base.yaml:4:21 stages.0.prune.amount: must be < 1, not 2",
        "s.yaml:2:8 model: unknown model 'mpl' (did you mean 'mlp'?)",
    ]


def test_circle_of_bases_is_named() -> None:
    Path("base.yaml").write_text("extends: s.yaml\n")
    expected = "base.yaml:1:10 extends: specs extend each other: s.yaml -> base.yaml -> s.yaml"
    assert mistakes("extends: base.yaml\n") == [expected]


def test_mistake_in_an_aliased_value_is_reported_once() -> None:
    text = stages("train: &a {epochs: 0}", "train: *a")
    assert mistakes(text) == ["s.yaml:4:24 stages.0.train.epochs: must be >= 1, not 0"]


def test_values_that_do_not_go_together_are_refused_when_they_meet() -> None:
    optimizer = "{name: sgd, lr: 0.1, nesterov: {grid_search: [false, true]}, momentum: {grid_search: [0.9, 0.0]}}"
    assert mistakes(stages(f"train: {{epochs: 1, optimizer: {optimizer.replace('0.9, 0.0', '0.0, 0.9')}}}")) == [
        "s.yaml:4:35 stages.0.train.optimizer: "
        "optimizer 'sgd': Nesterov momentum requires a momentum and zero dampening"
    ]
    Path("s.yaml").write_text(stages(f"train: {{epochs: 1, optimizer: {optimizer}}}", "unprune"))
    spec = load("s.yaml", CATALOG)
    point = {"name": "sgd", "lr": 0.1, "nesterov": True, "momentum": 0.0}
    tree = {**spec.tree, "stages": [{"train": {"epochs": 1, "optimizer": point}}, "unprune"]}
    with pytest.raises(SpecError, match=r"^s\.yaml:4:35 stages\.0\.train\.optimizer: optimizer 'sgd': Nesterov"):
        spec.resolve(tree)


WORDS = ["name", "train", "repeat", "times", "stages", "grid_search", "choice", "uniform", "sgd", "convnet", "lr", "*"]
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 2), st.floats(), st.sampled_from(WORDS)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.sampled_from(["model", "data", "stages", "defaults", "seeds", "search", "resources", "name", "extends"])
SETTING = st.lists(st.sampled_from([*WORDS, "0", "1", "model", "data"]), min_size=1, max_size=5).map(".".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(st.dictionaries(PARTS, ANYTHING, max_size=4), st.lists(st.tuples(SETTING, ANYTHING), max_size=2))
def test_nonsense_is_either_a_spec_or_a_list_of_mistakes(parts: dict[str, Any], changes: list[tuple[str, Any]]) -> None:
    good = {"model": "convnet", "data": "digits", "stages": ["unprune", {"train": {"epochs": 1}}]}
    Path("s.yaml").write_text(json.dumps({**good, **parts}).replace("Infinity", ".inf").replace("NaN", ".nan"))
    found = None
    try:
        load("s.yaml", CATALOG, [f"{path}={json.dumps(value)}" for path, value in changes])
    except SpecError as error:
        found = error.problems
    assert found is None or (found and all(problem.file and problem.message for problem in found))
