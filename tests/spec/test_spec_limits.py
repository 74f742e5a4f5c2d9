"""Specs that would hang, fill the memory, or name what nothing takes are refused at their place, and at once."""

import os
import time
from pathlib import Path

import pytest
from spec_catalog import CATALOG, GOOD, START, mistakes, read, stages

from framework import SpecError
from framework._registry import Registry
from framework._spec import load, read_name


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def powers(first: str, template: str, levels: int = 12) -> str:
    """Lines of which each stands for ten times the one before."""
    lines = [f"a0: &a0 {first}", *(f"a{i}: &a{i} {template.format(f'*a{i - 1}')}" for i in range(1, levels))]
    return "\n".join(lines) + "\n"


TEN = "[" + ", ".join(["{0}"] * 10) + "]"
LAUGHS = powers("x", TEN)
ALIASES = "with its aliases this spec has {} values, more than the 10,000 that it may have"
PRUNE = "prune: {amount: 0.1}"
SAMPLED = stages("prune: {amount: {uniform: [0.1, 0.2]}}")


def grids(count: int) -> str:
    grid = "{grid_search: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]}"
    return stages(*[f"prune: {{amount: {grid}}}"] * count)


def repeats(depth: int) -> str:
    stage = f"{{{PRUNE}}}"
    for _ in range(depth):
        stage = f"{{repeat: {{times: 10, stages: [{stage}]}}}}"
    return stages(stage)


COUNTS = [
    (GOOD + LAUGHS, "s.yaml:8:5: " + ALIASES.format("123,456,790,146")),
    (GOOD + LAUGHS + "seeds: *a11\n", "s.yaml:8:5: " + ALIASES.format("234,567,901,258")),
    (GOOD + LAUGHS + "defaults: *a11\n", "s.yaml:8:5: " + ALIASES.format("234,567,901,258")),
    (GOOD + powers("{b: 1}", "{{<<: " + TEN + "}}"), "s.yaml:8:14: " + ALIASES.format("370,370,370,390")),
    (GOOD + powers("x", TEN, 400), "s.yaml:8:5: " + ALIASES.format("about 10^399")),
    (GOOD + powers("x", "[{0}]", 400), "s.yaml:68:6: nested too deeply: more than 64 levels"),
    (GOOD + "a: " + "[1, " * 9999, "s.yaml:4:253: nested too deeply: more than 64 levels"),
    (GOOD + f"seeds: {[*range(11_000)]}\n", "s.yaml:4:58815: more than the 10,000 values that a spec may have"),
    (
        grids(6),
        "s.yaml:4:21 stages.0.prune.amount: 1,000,000 points make 1,000,000 trials, more than the limit of 100,000: "
        "write fewer, or raise it with --max-trials",
    ),
    (
        grids(18) + "seeds: [0, 1]\n",
        "s.yaml:4:21 stages.0.prune.amount: about 10^18 points × 2 seeds make about 10^18 trials, more than the limit "
        "of 100,000: write fewer, or raise it with --max-trials",
    ),
    (
        SAMPLED + "search: {samples: 1000000000}\n",
        "s.yaml:5:19 search.samples: 1,000,000,000 samples make 1,000,000,000 trials, more than the limit of 100,000: "
        "write fewer, or raise it with --max-trials",
    ),
    (
        SAMPLED + "search: {samples: 1000000000, algorithm: optuna}\nseeds: [0, 1]\n",
        "s.yaml:5:19 search.samples: 1,000,000,000 samples × 2 seeds make 2,000,000,000 trials, more than the limit of "
        "100,000: write fewer, or raise it with --max-trials",
    ),
    (
        stages(f"repeat: {{times: 1000000000, stages: [{{{PRUNE}}}]}}"),
        "s.yaml:4:5 stages.0: trials would have up to 1,000,000,000 stages, more than the 10,000 that are possible",
    ),
    (
        stages("unprune", f"repeat: {{times: {{grid_search: [1, 20000]}}, stages: [{{{PRUNE}}}]}}"),
        "s.yaml:5:5 stages.1: trials would have up to 20,001 stages, more than the 10,000 that are possible",
    ),
    (
        repeats(12),
        "s.yaml:4:5 stages.0: trials would have up to 1,000,000,000,000 stages, more than the 10,000 that are possible",
    ),
    (
        repeats(4).replace("0.1", f"{{grid_search: {[n / 2000 for n in range(1, 1999)]}}}"),
        "s.yaml:1:1: its search spaces have 1,998 candidates, too many to check each in a spec of this size",
    ),
    (
        repeats(4) + f"seeds: {[*range(2000)]}\n",
        "s.yaml:5:8 seeds: 2,000 trials of 10,000 stages are more than the limit of 10,000,000: "
        "write fewer, or raise it with --max-trials",
    ),
    (GOOD + "extends: x.yaml\n" + "#" * 10**6, "s.yaml: a spec has at most 1,000,000 bytes, and this file has "),
]


@pytest.mark.parametrize(("text", "expected"), COUNTS, ids=range(len(COUNTS)))
def test_what_is_too_much_is_counted_and_not_written_out(text: str, expected: str) -> None:
    began = time.process_time()
    [mistake] = mistakes(text)
    assert mistake.startswith(expected)
    assert time.process_time() - began < 2  # the limits keep it below 1 where the machine is quiet


def test_the_limit_of_trials_can_be_raised_and_lowered() -> None:
    assert read(SAMPLED + "search: {samples: 200000}\n", max_trials=200_000).most_trials == 200_000
    with pytest.raises(SpecError, match="more than the limit of 3: "):
        read(SAMPLED + "search: {samples: 4}\n", max_trials=3)


def test_trials_are_counted_as_they_are_expanded() -> None:
    nested = "{grid_search: [0.1, {grid_search: [0.2, 0.3]}, {choice: [0.4, 0.5]}]}"
    spec = read(stages(f"prune: {{amount: {nested}}}", "unprune") + "seeds: [1, 2]\nsearch: {samples: 3}\n")
    assert (spec.most_trials, spec.most_stages) == (4 * 2 * 3, 2)
    assert (
        read(stages("repeat: {times: 3, stages: [unprune, {repeat: {times: 2, stages: [unprune]}}]}")).most_stages == 9
    )


def test_seeds_that_are_given_are_counted() -> None:
    assert read(GOOD, seeds=range(50_000)).most_trials == 50_000
    with pytest.raises(SpecError, match=r"^--seeds: 1,000,000,000 are more than the limit of 100,000 trials$"):
        read(GOOD, seeds=range(10**9))


def test_settings_and_bases_make_no_spec_larger_than_a_file_may_be() -> None:
    many = stages(*["unprune"] * 200)
    assert mistakes(many, f"stages.*={[0] * 100}")[0].endswith("more than the 10,000 that it may have")
    assert mistakes(GOOD, f"model.{'.'.join('a' * 60)}={'[' * 60}{']' * 60}")[0].endswith("more than 64 levels")
    assert mistakes(GOOD, f"{'.'.join('a' * 3000)}=1")[0].endswith("such as data.validation=0.2")
    for i in range(60):
        Path(f"{i}.yaml").write_text(f"extends: {i + 1}.yaml\n")
    assert mistakes("extends: 0.yaml\n")[0].endswith("more than 50 specs extend each other")


def test_only_a_regular_file_is_read() -> None:
    os.mkfifo("fifo")
    with Path("huge").open("wb") as file:
        file.truncate(10**10)
    Path("loop").symlink_to("loop")
    refused = {
        "fifo": "cannot be read: it is no regular file",
        "/dev/zero": "cannot be read: it is no regular file",
        "huge": "a spec has at most 1,000,000 bytes, and this file has 10,000,000,000",
        "loop": "cannot be read: Too many levels of symbolic links",
        "x" * 5000: "cannot be read: File name too long",
        "a\0b": "cannot be read: embedded null byte",
    }
    for file, expected in refused.items():
        for reading in (lambda file: load(file, CATALOG), lambda file: read_name(Path(file))):
            with pytest.raises(SpecError) as caught:
                reading(file)
            assert str(caught.value).endswith(f": {expected}")
    assert mistakes("extends: fifo\n") == ["s.yaml:1:10 extends: there is no file 'fifo'"]
    assert mistakes(f"extends: {'x' * 5000}\n")[0].startswith("s.yaml:1:10 extends: there is no file 'xxx")


# --- names ---------------------------------------------------------------------------------------------------------

LINE = "must be a non-empty line without slashes"
NAMES = [
    (".", "must not be '.', which is a folder everywhere"),
    ("..", "must not be '..', which is a folder everywhere"),
    ("a/b", LINE),
    (r'"a\\b"', LINE),
    (r'"a\nb"', LINE),
    (r'"a\u2028b"', LINE),
    ('" "', LINE),
    ("é" * 126, "must be at most 250 bytes long in UTF-8, not 252"),
    (r'"a\0b"', "must be a string without control characters and halves of characters, not 'a\\x00b'"),
    (r'"a\e[1mb"', "must be a string without control characters and halves of characters, not 'a\\x1b[1mb'"),
    (r'"a\ud800"', "must be a string without control characters and halves of characters, not 'a\\ud800'"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_a_name_that_is_no_files_name_is_refused(name: str, expected: str) -> None:
    assert mistakes(GOOD + f"name: {name}\n") == [f"s.yaml:4:7 name: {expected}"]


@pytest.mark.parametrize("file", ["..yaml", "...yaml", "a\nb.yaml"])
def test_a_file_whose_name_names_no_experiment_needs_one(file: str) -> None:
    Path(file).write_text(GOOD)
    with pytest.raises(SpecError, match="name: an experiment that has no name is called after its file, and a name mu"):
        load(file, CATALOG)
    Path(file).write_text(GOOD + "name: good\n")
    assert load(file, CATALOG).name == read_name(Path(file)) == "good"


@pytest.mark.parametrize("metric", ['""', "..", r'"a\nb"', "x" * 251])
def test_a_metric_has_a_name(metric: str) -> None:
    [mistake] = mistakes(SAMPLED + f"search: {{samples: 2, metric: {metric}}}\n")
    assert mistake.startswith("s.yaml:5:30 search.metric: must be the name of a metric, such as val/loss, not ")


# --- what libraries would refuse later -----------------------------------------------------------------------------

BITS = "must be an integer of at most 64 bits, not '{}'"
AMOUNT, RATE = "stages.0.prune.amount", "stages.0.train.optimizer.lr"
BOUNDS = [
    (GOOD + f"seeds: [{'9' * 5000}]\n", f"s.yaml:4:9 seeds.0: {BITS.format('9' * 40)}"),
    (GOOD + f"seeds: [{2**63}]\n", f"s.yaml:4:9 seeds.0: {BITS.format(2**63)}"),
    (GOOD + f"seeds: [0x{'f' * 17}]\n", f"s.yaml:4:9 seeds.0: {BITS.format('0x' + 'f' * 17)}"),
    (
        stages(f"train: {{epochs: {{randint: [1, {2**64}]}}}}"),
        f"s.yaml:4:35 stages.0.train.epochs.randint.1: {BITS.format(2**64)}",
    ),
    (stages(f"train: {{epochs: {10**40}}}"), f"s.yaml:4:21 stages.0.train.epochs: {BITS.format(10**39)}"),
    (
        stages("prune: {amount: 1e999}"),
        f"s.yaml:4:21 {AMOUNT}: must be a number of at most 1.8e308, not '1e999'",
    ),
    (
        stages("train: {epochs: 1, optimizer: {name: sgd, lr: {uniform: [0, 1e-310]}}}"),
        f"s.yaml:4:61 {RATE}.uniform: uniform needs bounds that are at least 1e-300 apart, not [0, 1e-310]",
    ),
    (GOOD + "search: {seed: 4294967296}\n", "s.yaml:4:16 search.seed: must be <= 4294967295, not 4294967296"),
    (
        GOOD + "search: {scheduler: {name: asha, grace_period: 2000000000}}\n",
        "s.yaml:4:48 search.scheduler.grace_period: must be <= 1000000000, not 2000000000",
    ),
    (
        GOOD + "search: {scheduler: {name: asha, reduction_factor: 1.0000001}}\n",
        "s.yaml:4:52 search.scheduler.reduction_factor: must be a number >= 1.1, not 1.0000001",
    ),
    (
        GOOD + "resources: {gpu: 1.5}\n",
        "s.yaml:4:18 resources.gpu: must be auto, 0, a number from 0.0001 to 1 "
        "(below 1, trials share a GPU), or several whole GPUs, not 1.5",
    ),
    (
        GOOD + "resources: {cpu: 1e-9}\n",
        "s.yaml:4:18 resources.cpu: must be auto, or a number from 0.0001 to 4096, not 1e-09",
    ),
    (
        GOOD + "resources: {timeout: 1e300}\n",
        "s.yaml:4:22 resources.timeout: must be a number of seconds from 0.001 to 1,000,000,000, or null, not 1e+300",
    ),
    (GOOD + 'description: "\\UFFFFFFFF"\n', "s.yaml:4:17: this is no YAML: a number in an escape or a directive is"),
    (f"%YAML 1.{'9' * 5000}\n---\n{GOOD}", "s.yaml:1:9: this is no YAML: a number in an escape or a directive is"),
    (GOOD + "? " + "k" * 251 + "\n: 1\n", "s.yaml:4:3: a key must be a word, not 251 characters"),
]


@pytest.mark.parametrize(("text", "expected"), BOUNDS, ids=range(len(BOUNDS)))
def test_what_no_library_takes_is_refused_at_its_place(text: str, expected: str) -> None:
    [mistake] = mistakes(text)
    assert mistake.startswith(expected)


def test_a_stage_has_no_more_epochs_than_can_be_compared(registry: Registry) -> None:
    Path("s.yaml").write_text(stages("train: {epochs: {randint: [1, 9000000000]}}"))
    expected = r"^s\.yaml:4:35 .*\.1: a stage has at most 1,000,000,000 epochs, not 8,999,999,999"
    with pytest.raises(SpecError, match=expected):
        load("s.yaml", registry)


def test_of_a_thousand_mistakes_no_more_are_looked_for_and_none_is_long() -> None:
    found = mistakes(GOOD + "".join(f"key{i}: {'x' * 50}\n" for i in range(3000)))
    assert len(found) == 1000
    [found] = mistakes(START + f"stages: [{'x' * 100_000}]\n")
    assert len(found) < 1100
