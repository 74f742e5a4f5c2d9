"""What `framework plan` draws, counts and explains."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from running import STUDY, here, write

from framework._executors.session import plan_all
from framework._plan import SplitStages, TrialPlan
from framework._registry import installed
from framework._spec import load_specs
from framework._store import Store

Plan = Callable[..., list[str]]


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Plan:
    """The lines that the command prints, in a folder with the study's specs."""
    write(tmp_path, STUDY)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> list[str]:
        assert here("plan", *arguments, monkeypatch=monkeypatch) == code
        told = capsys.readouterr()
        return (told.err if code else told.out).splitlines()

    return run


def plans(*files: str) -> list[TrialPlan]:
    planned = plan_all(load_specs([Path(file) for file in files], [], None, installed()))
    return [trial for trials in planned.values() for trial in trials]


def spec(name: str, stages: str, **more: str) -> str:
    """Write a small spec, in which training takes an epoch unless it says otherwise; gives its file."""
    content = {"model": "convnet", "data": "digits", "stages": stages, **more}
    if re.search(r"\btrain\b(?!: {epochs)", stages):
        content["defaults"] = "{train: {epochs: 1}}"
    Path(name).write_text("".join(f"{key}: {value}\n" for key, value in content.items()))
    return name


# --- the tree ------------------------------------------------------------------------------------------------------


def test_the_tree_is_drawn_and_summed_up(plan: Plan) -> None:
    assert plan("study.yaml", "single.yaml", "twin.yaml") == [
        "study: 4 trials, 16 epochs",
        "single: 1 trial, 1 epoch",
        "twin: 1 trial, 1 epoch",
        "convnet on digits; seeds 0, 1",
        "└── train 2 epochs",
        "    ├── prune amount=0.2 → train 1 epoch → unprune fraction=0.5 → train 1 epoch  ⇒ study prune.amount=0.2",
        "    └── prune amount=0.5 → train 1 epoch → unprune fraction=0.5 → train 1 epoch  ⇒ study prune.amount=0.5",
        "convnet on digits; seed 3",
        "└── train 1 epoch → prune amount=0.3  ⇒ single, twin",
        "trials: 6",
        "stages: 24 naive → 20 shared → 20 still to run",
        "epochs: 18 naive → 13 shared (1.4× fewer epochs) → 13 still to run",
        "resources per trial: cpu=auto gpu=auto",
        "threads on this machine: 1 in 20 stages",
        "time left: unknown until a first trial has run",
    ]
    assert {path.name for path in Path().iterdir()} == STUDY.keys()


def test_trials_that_end_within_a_path_are_seen_there(plan: Plan) -> None:
    one, two = spec("one.yaml", "[train]"), spec("two.yaml", "[train, {prune: {amount: 0.1}}, unprune]")
    told = plan(one, two)
    assert told[3:5] == ["└── train 1 epoch  ⇒ one", "    └── prune amount=0.1 → unprune  ⇒ two"]
    assert "epochs: 2 naive → 1 shared (2.0× fewer epochs) → 1 still to run" in told


def test_nothing_is_said_to_be_saved_where_nothing_is_shared(plan: Plan) -> None:
    assert "epochs: 1 naive → 1 shared → 1 still to run" in plan(spec("one.yaml", "[train]"))


def test_stages_that_differ_in_length_are_one_path(plan: Plan) -> None:
    sweep = spec("sweep.yaml", "[{train: {epochs: {grid_search: [10, 20, 40]}}}]", seeds="[0, 1]")
    assert plan(sweep)[:7] == [
        "sweep: 6 trials, 140 epochs",
        "convnet on digits; seeds 0, 1",
        "└── train 10 epochs  ⇒ sweep train.epochs=10",
        "    └── train on to 20 epochs  ⇒ sweep train.epochs=20",
        "        └── train on to 40 epochs  ⇒ sweep train.epochs=40",
        "trials: 6",
        "stages: 6 naive → 6 shared → 6 still to run",
    ]
    assert "epochs: 140 naive → 80 shared (1.8× fewer epochs) → 80 still to run" in plan(sweep)


def test_the_page_on_sharing_shows_what_is_printed(plan: Plan) -> None:
    page = (Path(__file__).parents[2] / "docs" / "sharing.md").read_text()
    _, _, part = page.partition("## Epochs that stages have in common")
    found = re.search(r"```yaml\n(.*?)```.*?```text\n\$ framework plan longer.yaml\n(.*?)```", part, re.DOTALL)
    assert found is not None
    text, shown = found.groups()
    Path("longer.yaml").write_text(text)
    told = plan("longer.yaml")
    assert told[: len(shown.splitlines())] == shown.splitlines()


def test_why_two_trials_share_epochs_but_no_stage(plan: Plan) -> None:
    sweep = spec("sweep.yaml", "[test, {train: {epochs: {grid_search: [10, 20]}}}]")
    assert plan(sweep, "--explain", "train.epochs=20 seed=0", "train.epochs=10 seed=0")[2:] == [
        "They share 1 stage of 0 epochs: test. What differs from there on:",
        "  stages.1 train: epochs 20 ≠ 10",
        "  they also share 10 epochs of train",
    ]
    first = spec("first.yaml", "[{train: {epochs: null, steps: {grid_search: [1, 2]}}}]")
    told = plan(first, "--explain", "train.steps=1 seed=0", "train.steps=2 seed=0")
    assert told[-1] == "  they also share 1 step of train"


def test_what_follows_stages_of_several_lengths_is_below_each(plan: Plan) -> None:
    steps = "{epochs: null, batch_size: 64, steps: {grid_search: [9, 50]}}"
    sweep = spec("sweep.yaml", f"[{{train: {steps}}}, {{prune: {{amount: 0.5}}}}, {{train: {{schedule: cosine}}}}]")
    assert plan(sweep)[2:5] == [
        "└── train steps=9",
        "    ├── prune amount=0.5 → train 1 epoch  ⇒ sweep train.steps=9",
        "    └── train on to 50 steps → prune amount=0.5 → train 1 epoch  ⇒ sweep train.steps=50",
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("[{train: {epochs: 1}}, {train: {epochs: 2}}]", ["train 1 epoch", "train on to 2 epochs"]),
        (
            "[{train: {epochs: 1, schedule: cosine}}, {train: {epochs: 2, schedule: cosine}}]",
            ["train 1 epoch", "train 2 epochs"],
        ),
        (
            "[{train: {optimizer: {name: sgd, lr: 0.1}}}, {train: {optimizer: {name: sgd, lr: 0.2}}}]",
            ["train optimizer.lr=0.1 1 epoch", "train optimizer.lr=0.2 1 epoch"],
        ),
        (
            "[{train: {optimizer: {name: sgd, lr: 0.1}}}, {train: {optimizer: {name: adamw, lr: 0.2}}}]",
            ["train optimizer=sgd optimizer.lr=0.1", "train optimizer=adamw optimizer.lr=0.2"],
        ),
        (
            "[{freeze: {fraction: 0.5}}, {freeze: {layers: [fc]}}]",
            ["freeze fraction=0.5 layers=None", "freeze fraction=None layers=[fc]"],
        ),
        (
            "[{freeze: {layers: [fc]}}, test, {prune: {amount: 0.5}}]",
            ["freeze layers=[fc]", "test", "prune amount=0.5"],
        ),
    ],
)
def test_siblings_are_told_by_what_differs(values: str, expected: list[str], plan: Plan) -> None:
    told = plan(spec("a.yaml", f"[{{grid_search: {values}}}]"))
    branches = [line.partition("── ")[2] for line in told if "── " in line]
    assert [branch.startswith(start) for branch, start in zip(branches, expected, strict=True)] == [True] * len(
        expected
    )


def test_networks_and_data_are_told_by_what_differs(plan: Plan) -> None:
    told = plan(spec("a.yaml", "[train]"), "--set", "data.augment={grid_search: [[crop], []]}")
    assert "convnet on digits data.augment=[crop]; seed 0" in told
    assert "convnet on digits data.augment=[]; seed 0" in told


def test_seeds_with_other_trials_are_drawn_by_themselves(plan: Plan) -> None:
    one = spec("one.yaml", "[train]", seeds="[0, 1, 2, 3, 4, 7]")
    two = spec("two.yaml", "[train, test]", seeds="[2]")
    roots = [line for line in plan(one, two) if line.startswith("convnet")]
    assert roots == ["convnet on digits; seeds 0, 1, 3, 4, 7", "convnet on digits; seed 2"]
    assert "convnet on digits; seeds 0–4, 7" in plan(one)


def test_wide_nodes_are_cut_unless_all_is_asked_for(plan: Plan) -> None:
    amounts = [round(0.001 * number, 3) for number in range(1, 101)]
    wide = spec("wide.yaml", f"[train, {{prune: {{amount: {{grid_search: {amounts}}}}}}}]")
    told = plan(wide)
    assert [line for line in told if "prune amount=0.02 " in line]
    assert not [line for line in told if "prune amount=0.021" in line]
    assert "    └── … 80 more" in told
    assert "trials: 100" in told
    whole = plan(wide, "--all")
    assert sum("── prune amount=" in line for line in whole) == 100
    assert not [line for line in whole if "more" in line]


def test_what_is_cut_says_how_many_trials_it_is_of_and_one_is_never_cut(plan: Plan) -> None:
    epochs = list(range(1, 23))
    train = f"train: {{epochs: {{grid_search: {epochs}}}, schedule: linear}}"
    wide = spec("a.yaml", f"[{{{train}}}, {{grid_search: [test, unprune]}}]")
    assert "└── … 2 more with 4 trials" in plan(wide)
    assert not [
        line for line in plan(wide, "--set", f"stages.0.train.epochs={{grid_search: {epochs[:21]}}}") if "more" in line
    ]


def test_models_beyond_the_first_few_are_cut_too(plan: Plan) -> None:
    widths = ", ".join(f"{{name: convnet, widths: [{width}]}}" for width in range(1, 41))
    told = plan(spec("a.yaml", "[test]", model=f"{{grid_search: [{widths}]}}"))
    assert sum(line.startswith("convnet on digits model.widths=") for line in told) == 20
    assert "… 20 more" in told


# --- what is stored ------------------------------------------------------------------------------------------------


def test_a_longer_stage_goes_on_from_what_is_stored_of_a_shorter_one(plan: Plan) -> None:
    short = spec("short.yaml", "[{train: {epochs: 10}}]", seeds="[0, 1]")
    [one, other] = SplitStages()(plans(short))
    Store("mlruns/stages").save(one.path[0], {}, {})
    longer = "stages.0.train.epochs={grid_search: [15, 30]}"
    told = plan(short, "--set", longer)
    assert told[2:4] == [
        "└── train 10 epochs stored 1/2 → train on to 15 epochs  ⇒ short train.epochs=15",
        "    └── train on to 30 epochs  ⇒ short train.epochs=30",
    ]
    assert "epochs: 90 naive → 60 shared (1.5× fewer epochs) → 50 still to run" in told
    Store("mlruns/stages").save(other.path[0], {}, {})
    assert "└── train 10 epochs stored → train on to 15 epochs  ⇒ short train.epochs=15" in plan(short, "--set", longer)
    assert "└── train 10 epochs stored  ⇒ short" in plan(short)


@pytest.mark.parametrize("options", [(), ("--root", "other"), ("--store", "else/where")])
def test_what_is_stored_is_marked_and_not_to_be_run(options: tuple[str, ...], plan: Plan) -> None:
    folder = {(): "mlruns/stages", "--root": "other/stages", "--store": "else/where"}[options and options[0]]
    store = Store(folder)
    low, high = (trial for trial in plans("study.yaml") if trial.seed == 0)
    store.save(low.keys[1], {}, {})
    store.save(low.keys[3], {}, {})
    store.save(high.keys[2], {}, {}, partial=True)
    told = plan("study.yaml", *options)
    assert "└── train 2 epochs stored 1/2" in told
    assert any("prune amount=0.2 → train 1 epoch stored 1/2 → unprune" in line for line in told)
    assert any("prune amount=0.5 → train 1 epoch → unprune" in line for line in told)
    assert "stages: 20 naive → 18 shared → 15 still to run" in told
    assert "epochs: 16 naive → 12 shared (1.3× fewer epochs) → 9 still to run" in told
    told = plan("study.yaml", *options, "--seeds", "0")
    assert "└── train 2 epochs stored" in told
    assert "epochs: 8 naive → 6 shared (1.3× fewer epochs) → 3 still to run" in told
    if options:
        assert not [line for line in plan("study.yaml") if "stored" in line]


def test_a_stored_network_that_nothing_was_done_to_is_marked_and_saves_nothing(plan: Plan) -> None:
    Store("mlruns/stages").save(plans("single.yaml")[0].keys[0], {}, {})
    told = plan("single.yaml")
    assert "convnet on digits; seed 3 stored" in told
    assert "stages: 2 naive → 2 shared → 2 still to run" in told


def test_a_store_that_cannot_be_read_is_one_sentence(plan: Plan) -> None:
    Path("file").touch()
    [line] = plan("single.yaml", "--store", "file/store", code=1)
    assert line.startswith("error: ")


# --- resources -----------------------------------------------------------------------------------------------------


def test_resources_are_told_by_spec_where_they_differ_and_where_they_are_not_the_default(plan: Plan) -> None:
    one = spec("one.yaml", "[train]", resources="{timeout: 60, retries: 1}")
    two = spec("two.yaml", "[test]", resources="{cpu: 2, gpu: 0.5, retries: 0}")
    three = spec("three.yaml", "[test]", seeds="[1]", resources="{cpu: 2, gpu: 0.5, retries: 0}")
    assert plan(one, two, three)[-4:] == [
        "resources per trial: cpu=auto gpu=auto timeout=60 (one)",
        "resources per trial: cpu=2 gpu=0.5 retries=0 (two, three)",
        "threads on this machine: 1 in 1 stage",
        "time left: unknown until a first trial has run",
    ]


def test_the_time_left_is_told_by_what_earlier_runs_took(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    one = spec("one.yaml", "[train, {prune: {amount: 0.1}}]", seeds="[0]")
    assert here("run", one, "--executor", "inline", monkeypatch=monkeypatch) == 0
    told = plan(one, "--seeds", "0,1,2", "--at-once", "1", "--at-once", "2")
    time, size = told[-2:]
    assert re.fullmatch(
        r"time left: about .* with 1 trial at once, about .* with 2 trials at once \(by earlier runs on CPU\)", time
    )
    assert re.fullmatch(r"store: about \d.* more", size)
    assert not [line for line in plan(one) if "time left" in line or "store:" in line]  # nothing is left to run
    other = spec("other.yaml", "[{train: {epochs: 1}}]", model="mlp")
    assert plan(one, other)[-1] == "time left: unknown until a first trial of other has run"


def test_several_processes_are_told(plan: Plan) -> None:
    several = spec("several.yaml", "[train]", resources="{cpu: 4, gpu: 0, processes: 4}")
    assert "resources per trial: cpu=4 gpu=0 processes=4" in plan(several)
    gpus = spec("gpus.yaml", "[train]", resources="{gpu: 2}")
    told = plan(gpus)
    assert "resources per trial: cpu=auto gpu=2 processes=2" in told
    assert "threads on this machine: 1 in 1 stage" in told


# --- why two trials do not share -----------------------------------------------------------------------------------


def test_two_variants_share_up_to_where_they_differ(plan: Plan) -> None:
    assert plan("study.yaml", "--explain", "prune.amount=0.2 seed=0", "study/prune.amount=0.5 seed=0") == [
        "A: study/prune.amount=0.2 seed=0",
        "B: study/prune.amount=0.5 seed=0",
        "They share 1 stage of 2 epochs: train. What differs from there on:",
        "  stages.1 prune: amount 0.2 ≠ 0.5",
    ]


def test_two_seeds_share_nothing(plan: Plan) -> None:
    assert plan("study.yaml", "--explain", "prune.amount=0.2 seed=0", "prune.amount=0.2 seed=1")[2:] == [
        "They share nothing, not even the initial network. What differs:",
        "  seed: 0 ≠ 1",
    ]


def test_one_trial_of_two_experiments_is_one_and_the_same(plan: Plan) -> None:
    told = plan("single.yaml", "twin.yaml", "--explain", "single/seed=3", "twin/seed=3")
    assert told[2:] == ["They share everything: they are one and the same, and it is run once."]


@pytest.mark.parametrize(
    ("one", "other", "shared", "differences"),
    [
        ("[train, test]", "[train]", "1 stage of 1 epoch: train.", ["number of stages: 2 ≠ 1"]),
        (
            "[train, {prune: {amount: 0.1}}]",
            "[train, unprune]",
            "1 stage of 1 epoch: train.",
            ["stages.1: prune ≠ unprune"],
        ),
        (
            "[{train: {optimizer: {name: sgd, lr: 0.1}}}, test]",
            "[{train: {optimizer: {name: sgd, lr: 0.2, nesterov: true, momentum: 0.9}}}, test]",
            "the initial network, but no stage.",
            [
                "stages.0 train: optimizer.lr 0.1 ≠ 0.2",
                "stages.0 train: optimizer.momentum 0.0 ≠ 0.9",
                "stages.0 train: optimizer.nesterov False ≠ True",
            ],
        ),
        (
            "[{train: {optimizer: adamw}}]",
            "[train]",
            "the initial network, but no stage.",
            ["stages.0 train: optimizer adamw ≠ sgd"],
        ),
        (
            "[{prune: {amount: 0.12345678901}}]",
            "[{prune: {amount: 0.12345678902}}]",
            "the initial network, but no stage.",
            ["stages.0 prune: amount 0.12345678901 ≠ 0.12345678902"],
        ),
    ],
)
def test_stages_differ_parameter_by_parameter(
    one: str, other: str, shared: str, differences: list[str], plan: Plan
) -> None:
    told = plan(spec("one.yaml", one), spec("other.yaml", other), "--explain", "one/seed=0", "other/seed=0")
    assert told[2].startswith(f"They share {shared} What differs")
    assert sorted(told[3:]) == [f"  {difference}" for difference in sorted(differences)]


def test_networks_and_data_differ_parameter_by_parameter(plan: Plan) -> None:
    grid = ("--set", "model={grid_search: [convnet, {name: convnet, widths: [4]}, resnet18]}")
    grid += ("--set", "data.validation={grid_search: [0.1, 0.2]}")
    small = spec("a.yaml", "[test]")
    name = "data.validation={} model={} seed=0"
    first = name.format(0.1, "convnet")
    for validation, model, difference in (
        (0.2, "convnet", "data digits: validation 0.1 ≠ 0.2"),
        (0.1, "resnet18", "model: convnet ≠ resnet18"),
        (0.1, "convnet(widths=[4])", "model convnet: widths [32, 64, 128] ≠ [4]"),
    ):
        told = plan(small, *grid, "--explain", first, name.format(validation, model))
        assert told[2:] == [
            "They share nothing, not even the initial network. What differs:",
            f"  {difference}",
        ]


def test_a_file_and_its_copy_are_no_difference_and_changed_content_is(plan: Plan) -> None:
    for name, text, stage in (("a", "one", "test"), ("b", "one", "unprune"), ("c", "two", "unprune")):
        Path(f"{name}.pt").write_text(text)
        spec(f"{name}.yaml", f"[{stage}]", model=f"{{name: convnet, weights: {name}.pt}}")
    files = ("a.yaml", "b.yaml", "c.yaml")
    assert plan(*files, "--explain", "a/seed=0", "b/seed=0")[2:] == [
        "They share the initial network, but no stage. What differs from there on:",
        "  stages.0: test ≠ unprune",
    ]
    assert plan(*files, "--explain", "b/seed=0", "c/seed=0")[3:] == ["  model convnet: weights b.pt ≠ c.pt"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("prune.amount=0.3 seed=0", r"there is no trial 'prune.amount=0.3 seed=0' (did you mean 'prune.amount=0."),
        ("seed=3", "several trials are called 'seed=3': single/seed=3, twin/seed=3"),
    ],
)
def test_a_name_must_be_of_one_trial(name: str, reason: str, plan: Plan) -> None:
    for pair in ((name, "single/seed=3"), ("single/seed=3", name)):
        [line] = plan("study.yaml", "single.yaml", "twin.yaml", "--explain", *pair, code=2)
        assert line.startswith(f"--explain: {reason}")


# --- trials that are suggested on the way --------------------------------------------------------------------------

SEARCH = {"search": "{algorithm: optuna, samples: 20}", "seeds": "[0, 1]"}
SAMPLED = "[{prune: {amount: {uniform: [0.1, 0.9]}}}]"


def test_suggested_trials_are_counted_but_not_known(plan: Plan) -> None:
    file = spec("search.yaml", SAMPLED, **SEARCH)
    head = "search: up to 40 trials, of points that optuna suggests one by one"
    assert plan(file) == [head, "trials: 0, and up to 40 that will be suggested"]
    told = plan("single.yaml", file)
    assert told[:2] == ["single: 1 trial, 1 epoch", head]
    assert "trials: 1, and up to 40 that will be suggested" in told


def test_validate_and_dry_run_say_how_many_trials_may_be_suggested(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = spec("search.yaml", SAMPLED, **SEARCH)
    assert here("validate", file, monkeypatch=monkeypatch) == 0
    expected = "search.yaml: search is valid: up to 40 trials, of points that optuna suggests one by one\n"
    assert capsys.readouterr().out == expected
    assert here("run", "--dry-run", file, monkeypatch=monkeypatch) == 0
    assert "trials: 0, and up to 40 that will be suggested" in capsys.readouterr().out
