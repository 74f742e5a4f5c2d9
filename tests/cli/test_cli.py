"""What `framework run` leaves, and what the other commands say."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from running import STUDY, Study, all_runs, client, framework_afresh, here, history, parents, state, trials, write

from framework._executors.session import plan_all
from framework._registry import installed
from framework._spec import load_specs
from framework._store import Store

NAMES = {f"prune.amount={amount} seed={seed}" for amount in (0.2, 0.5) for seed in (0, 1)}


def artifact(study: Study, run: Any, name: str, folder: Path) -> bytes:
    return Path(client(study.root).download_artifacts(run.info.run_id, name, str(folder))).read_bytes()


# --- what a run leaves ---------------------------------------------------------------------------------------------


def test_a_run_says_what_it_does_in_plain_lines_and_nothing_else(study: Study) -> None:
    assert study.done.stderr == ""
    assert study.done.returncode == 0
    lines = [line.strip() for line in study.done.stdout.splitlines() if line.strip()]
    assert lines[0] == "6 trials to run"
    # Two amounts share the first stage of each seed, and one of the two equal trials does all stages for both.
    assert lines[-2:] == [
        "stages: 20 executed, 4 shared, 0 restored; epochs: 13 executed, 5 shared, 0 restored (1.4× fewer)",
        "Compare the runs:  framework ui --root results",
    ]
    known = re.compile(
        r"\[\d/6\] |(study|single|twin) .*stage|variant |─|study$|single$|twin$|prune\.amount=0\.[25]  |–  "
    )
    assert [line for line in lines[1:-2] if not known.match(line)] == []
    for number in range(1, 7):
        assert any(line.startswith(f"[{number}/6] ") for line in lines)


def test_the_table_tells_accuracy_and_spread_sparsity_and_epochs(study: Study) -> None:
    row = r"prune\.amount=0\.2 +2 +\d+\.\d\d ± \d+\.\d\d% +\d+\.\d\d% +4 +\d+\.\d"
    assert re.search(row, study.done.stdout)
    assert re.search(r"– +1 +\d+\.\d\d% +30\.00% +1 +\d+\.\d", study.done.stdout)


def test_every_trial_is_a_finished_run_under_the_invocations(study: Study) -> None:
    for experiment, names in (("study", NAMES), ("single", {"seed=3"}), ("twin", {"seed=3"})):
        [parent] = parents(study.root, experiment)
        runs = trials(study.root, experiment)
        assert runs.keys() == names
        assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
        assert {run.info.status for run in (parent, *runs.values())} == {"FINISHED"}
        assert parent.data.tags["mlflow.note.content"].startswith("Prune, train, unprune.\n\n| variant ")
        assert parent.data.metrics["trials"] == len(names)


def test_parameters_are_flat_and_swept_ones_have_a_short_name_too(study: Study) -> None:
    params = trials(study.root, "study")["prune.amount=0.5 seed=1"].data.params
    assert params["prune.amount"] == params["stages.1.prune.amount"] == "0.5"
    assert params["seed"] == "1"
    assert params["model"] == "convnet"
    assert params["data.dataset"] == "digits"
    assert params["stages.0.train.epochs"] == "2"
    assert params["stages.4.train.batch_size"] == "64"
    assert params["stages.0.train.optimizer"] == "sgd"
    assert "stages.0.train.optimizer.momentum" in params


def test_metrics_are_what_was_measured_and_no_noise(study: Study) -> None:
    measured = re.compile(
        r"(train|val|test)/(loss|accuracy)|sparsity(/[\w.]+)?|frozen|empty_layers|no_gradient|lr|images_per_second|"
        r"model/\w+|stage|epochs|seconds"
    )
    for run in trials(study.root, "study").values():
        assert [name for name in run.data.metrics if not measured.fullmatch(name)] == []
    [parent] = parents(study.root, "study")
    known = {f"{what}/{how}" for what in ("stages", "epochs") for how in ("executed", "shared", "restored")}
    assert parent.data.metrics.keys() == {"trials", "failed", *known}


def test_metrics_stand_on_one_epoch_axis(study: Study) -> None:
    for name, run in trials(study.root, "study").items():
        amount = 0.2 if "0.2" in name else 0.5
        for metric in ("train/loss", "train/accuracy", "lr", "images_per_second"):
            assert [epoch for epoch, _ in history(study.root, run, metric)] == [1, 2, 3, 4]
        # Besides the epochs, the stages that do not train are seen at once; the last is the test set's.
        for metric in ("sparsity", "frozen"):
            assert [epoch for epoch, _ in history(study.root, run, metric)] == [1, 2, 2, 3, 3, 4, 4]
        assert [epoch for epoch, _ in history(study.root, run, "val/accuracy")] == [1, 2, 2, 3, 3, 4]
        assert [epoch for epoch, _ in history(study.root, run, "test/accuracy")] == [4]
        sparsity = [value for _, value in history(study.root, run, "sparsity")]
        assert sparsity[:2] == [0, 0]
        assert sparsity[2:5] == pytest.approx([amount] * 3, abs=1e-4)
        assert amount / 2 - 1e-4 <= sparsity[5] < amount
        assert run.data.metrics["epochs"] == 4
        assert 0 < run.data.metrics["test/accuracy"] <= 1


def test_the_figures_of_a_trial_are_pictures(study: Study, tmp_path: Path) -> None:
    runs = [*trials(study.root, "study").values(), *trials(study.root, "single").values()]
    for run in runs:
        for name in ("curves", "layers", "weights", "confusion"):
            assert artifact(study, run, f"figures/{name}.png", tmp_path).startswith(b"\x89PNG")
            assert b"<svg" in artifact(study, run, f"figures/{name}.svg", tmp_path)


def test_what_figures_show_is_complete_also_of_shared_stages(study: Study, tmp_path: Path) -> None:
    for run in trials(study.root, "study").values():
        states = json.loads(artifact(study, run, "weights.json", tmp_path))
        assert [state["name"] for state in states] == ["the start", "train", "prune", "train", "unprune", "train"]
        confusion = json.loads(artifact(study, run, "confusion.json", tmp_path))
        assert confusion["classes"] == [str(digit) for digit in range(10)]
        right = sum(row[index] for index, row in enumerate(confusion["counts"]))
        assert right / sum(map(sum, confusion["counts"])) == run.data.metrics["test/accuracy"]


def test_the_kept_spec_is_the_trial(study: Study, tmp_path: Path) -> None:
    for experiment in ("study", "single"):
        for name, run in trials(study.root, experiment).items():
            spec = tmp_path / f"{name}.yaml"
            spec.write_bytes(artifact(study, run, "spec.yaml", tmp_path))
            [plan] = plan_all(load_specs([spec], [], None, installed()))[experiment]
            assert plan.key == run.data.tags["framework.key"]


def test_the_logged_model_has_exactly_the_reported_sparsity(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [*trials(study.root, "study").values(), *trials(study.root, "single").values()]
    for run in runs:
        weights = [tensor for tensor in state(study.root, run, monkeypatch).values() if tensor.ndim > 1]
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        assert zeros / sum(weight.numel() for weight in weights) == run.data.metrics["sparsity"] > 0


def test_two_experiments_with_the_same_trial_both_have_it(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    single, twin = (trials(study.root, experiment)["seed=3"] for experiment in ("single", "twin"))
    assert single.data.tags["framework.key"] == twin.data.tags["framework.key"]
    states = [state(study.root, run, monkeypatch) for run in (single, twin)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_nothing_but_results_is_left_in_the_folder(study: Study) -> None:
    assert {path.name for path in study.folder.iterdir()} == {*STUDY, "results"}
    assert {path.name for path in study.root.iterdir()} == {"mlflow.db", "artifacts", "stages"}
    kept = Counter(path.suffix for path in (study.root / "stages").glob("*.*"))
    # A snapshot for every stage that was executed, one of the last training of each trial, and what stages took.
    assert kept == {".json": 20 + 5, ".safetensors": 20 + 5, ".note": 1}


# --- running again -------------------------------------------------------------------------------------------------


def test_the_same_command_again_runs_nothing(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = study.copy(tmp_path, monkeypatch)
    assert here("run", *STUDY, "--root", "results", monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    assert "0 trials to run, 6 finished earlier" in told
    assert table(told) == table(study.done.stdout)
    for experiment in ("study", "single"):
        before, after = all_runs(study.root, experiment), all_runs(root, experiment)
        assert [(run.info.run_id, run.info.end_time) for run in after] == [
            (run.info.run_id, run.info.end_time) for run in before
        ]


def table(told: str) -> list[str]:
    """The table without its last column, the seconds."""
    rows = told.partition(" variant ")[2].partition("\nCompare")[0].partition("\nstages:")[0].splitlines()
    return [line.rstrip().rpartition(" ")[0].rstrip() for line in rows]


def test_more_seeds_and_a_changed_spec_run_only_what_is_new(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = study.copy(tmp_path, monkeypatch)
    changed = "stages.1.prune.amount={grid_search: [0.2, 0.6]}"
    options = ("--root", "results", "--executor", "inline", "--set", changed, "--seeds", "0,1,2")
    assert here("run", "study.yaml", *options, monkeypatch=monkeypatch) == 0
    assert "4 trials to run, 2 finished earlier" in capsys.readouterr().out
    new = {"prune.amount=0.2 seed=2", *(f"prune.amount=0.6 seed={seed}" for seed in range(3))}
    before, after = trials(study.root, "study"), trials(root, "study")
    assert after.keys() == NAMES | new
    assert all(after[name].info.run_id == before[name].info.run_id for name in NAMES)
    latest = parents(root, "study")[0].info.run_id
    assert {after[name].data.tags["mlflow.parentRunId"] for name in new} == {latest}


def test_force_runs_anew_in_the_place_of_the_old_run_and_inline_ends_with_the_weights_of_ray(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = trials(study.root, "single")["seed=3"]
    weights = state(study.root, old, monkeypatch)
    root = study.copy(tmp_path, monkeypatch)
    options = ("--root", "results", "--executor", "inline", "--force")
    assert here("run", "single.yaml", *options, monkeypatch=monkeypatch) == 0
    assert "1 trial to run, about " in capsys.readouterr().out
    new = trials(root, "single")["seed=3"]
    assert new.info.run_id != old.info.run_id
    assert new.data.metrics["train/loss"] == old.data.metrics["train/loss"]
    again = state(root, new, monkeypatch)
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_a_dry_run_shows_the_plan_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, monkeypatch)
    assert here("run", "single.yaml", "--dry-run", monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    assert "└── train 1 epoch → prune amount=0.3  ⇒ single\n" in told
    assert here("plan", "single.yaml", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == told
    assert {path.name for path in tmp_path.iterdir()} == STUDY.keys()
    Store("mlruns/stages").save(
        plan_all(load_specs([Path("single.yaml")], [], None, installed()))["single"][0].key, {}, {}
    )
    assert here("run", "single.yaml", "--dry-run", monkeypatch=monkeypatch) == 0
    assert "→ 0 still to run" in capsys.readouterr().out
    assert here("run", "single.yaml", "--dry-run", "--force", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == told


# --- the other commands --------------------------------------------------------------------------------------------


def test_help_tells_how_to_begin(tmp_path: Path) -> None:
    done = framework_afresh("--help", folder=tmp_path)
    assert done.returncode == 0
    assert "framework run experiments/quickstart.yaml" in done.stdout


def write_study(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, STUDY)
    monkeypatch.chdir(folder)


def test_validate_tells_trials_and_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, monkeypatch)
    assert here("validate", "study.yaml", "single.yaml", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == (
        "study.yaml: study is valid: 4 trials, 16 epochs\nsingle.yaml: single is valid: 1 trial, 1 epoch\n"
    )


def test_plugins_are_listed_with_what_they_are_and_where_they_come_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("plugins", monkeypatch=monkeypatch) == 0
    bare = capsys.readouterr().out
    assert here("plugins", "list", monkeypatch=monkeypatch) == 0
    assert capsys.readouterr().out == bare
    assert re.search(r"^dataset +digits +\S.* framework \d", bare, re.MULTILINE)


def test_a_plugins_parameters_are_shown_with_type_bounds_default_and_meaning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert here("plugins", "show", "stage", "unprune", monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^fraction +number +> 0, <= 1 +1\.0 +which part", shown, re.MULTILINE)
    assert "Attributes" not in shown
    assert "Example:\n    stages:\n" in shown
    assert re.search(r'^start +zero \| before \| initial \| random +"zero"', shown, re.MULTILINE)
    assert here("plugins", "show", "stage", "unprun", monkeypatch=monkeypatch) == 2
    assert capsys.readouterr().err == "error: unknown stage 'unprun' (did you mean 'unprune'?)\n"


def test_the_schema_is_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert here("schema", monkeypatch=monkeypatch) == 0
    assert "stages" in json.loads(capsys.readouterr().out)["properties"]
