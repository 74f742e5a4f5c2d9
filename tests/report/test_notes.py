"""What runs say of themselves."""

import re
from dataclasses import replace
from typing import Any

import pytest
from plans import make_plan
from report.trial_runs import results_of, trial, variants

from framework._plan.result import Result
from framework._report.comparison import compare
from framework._report.notes import RunLinks, sweep_note, trial_note

METRIC = "test/accuracy"
PLAN = make_plan("train", "prune", "train", experiment="prune", stage_epochs=(8, 0, 1))
RESULT = Result(PLAN, {METRIC: 0.98765, "sparsity": 0.2}, epochs=9, seconds=3.14, error=None)
KEPT = RunLinks(
    "abc", ["figures/curves.png", "figures/layers.png"], "framework run prune.yaml", "sqlite:////r/mlflow.db"
)


def note_of(
    why: str | None = None,
    data: Any = {"data.mean": (0.5,), "data.std": (0.25,)},  # noqa: B006
    kept: RunLinks = KEPT,
    exported: bool = True,
    **fields: Any,
) -> str:
    return trial_note(replace(RESULT, **fields), why, kept, data, exported)


def test_a_trials_note_says_what_came_out_and_how_to_have_it() -> None:
    note = note_of()
    assert note.startswith("**prune** prune.amount=0.2, seed 1\nStages: train (8 epochs) → prune → train (1 epoch)\n")
    assert "| 98.77% | 20.00% | 9 | 3.1 |" in note  # 98.765 in binary is a little more
    assert re.findall(r"!\[.*?\]\((.*?)\)", note) == ["get-artifact?path=figures/curves.png&run_uuid=abc"]
    assert 'mlflow.set_tracking_uri("sqlite:////r/mlflow.db")' in note
    assert '"runs:/abc/model"' in note
    assert "# less [0.5],\n# divided by [0.25]." in note
    assert "--artifact-path spec.yaml --run-id abc" in note
    assert note.endswith("All that was run with it: `framework run prune.yaml`")


@pytest.mark.parametrize("exported", [True, False])
def test_the_lines_of_blocks_are_short_as_the_page_is_as_wide_as_the_longest(exported: bool) -> None:
    kept = replace(KEPT, run_id="0" * 32)
    blocks = re.findall(r"^```\w+\n(.*?)\n```", note_of(kept=kept, exported=exported), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 75


def test_a_trials_note_names_the_layers_that_are_without_weights() -> None:
    metrics = {METRIC: 0.1, "sparsity": 0.99, "empty_layers": 1.0, "empty_layers/conv2": 1.0, "empty_layers/fc": 0.0}
    assert "\n\n**All weights are pruned of:** `conv2`\n\n" in note_of(metrics=metrics)


def test_of_a_trial_without_a_variant_the_seed_says_which_it_is() -> None:
    assert note_of(plan=replace(PLAN, swept={})).startswith("**prune** seed 1\n")


def test_a_failed_trials_note_begins_with_the_reason_and_offers_no_network() -> None:
    note = note_of("no layer matches 'fc9'", None, error="no layer matches 'fc9'", metrics={}, epochs=0)
    assert note.startswith("**Failed:** no layer matches 'fc9'\n\n**prune** ")
    assert "| – | – | 0 |" in note
    assert "Load the network" not in note
    assert "Reproduce" in note


def test_of_a_network_that_cannot_be_exported_the_weights_are_offered() -> None:
    note = note_of(exported=False)
    assert "### Load the weights" in note
    assert '"runs:/abc/weights.safetensors"' in note
    assert "runs:/abc/model" not in note


def test_a_stopped_trial_says_so() -> None:
    assert note_of("stopped by asha", None, stopped="by asha").startswith("**Stopped early:** stopped by asha\n")


def test_a_trials_note_fits_a_tag_whatever_it_has_to_say() -> None:
    kept = replace(KEPT, command="framework run " + "x.yaml " * 5000)
    note = note_of("why " * 5000, error="why", kept=kept)
    assert len(note) <= 5000
    assert note.endswith(" …`")


def sweep(*trials: Any, failed: Any = (), description: str = "What does it cost?", kept: RunLinks = KEPT) -> str:
    groups = compare(results_of(*trials), METRIC) if trials else []
    return sweep_note(description, groups, failed, kept)


def test_a_sweeps_note_has_the_question_the_table_the_first_figure_and_the_command() -> None:
    note = sweep(*variants(a20=[0.9, 0.92, 0.94], a30=[0.8, 0.82, 0.84]))
    assert note.startswith("What does it cost?\n\n| variant | n |")
    assert re.search(r"^\| prune\.amount=0\.2 \| 3 \| 92\.00", note, re.MULTILINE)
    assert re.findall(r"!\[.*?\]\((.*?)\)", note) == ["get-artifact?path=figures/curves.png&run_uuid=abc"]
    assert "More of them are in Artifacts: `figures/layers.png`." in note
    assert note.endswith("### Reproduce\n\n`framework run prune.yaml`")


def test_failed_trials_are_named_with_their_reasons() -> None:
    note = sweep(trial(0.9), failed=[(f"seed={seed}", "so it " * 100) for seed in range(12)])
    assert re.findall(r"^- (seed=\d+): so it", note, re.MULTILINE) == [f"seed={seed}" for seed in range(10)]
    assert "\n- … and 2 more\n" in note
    assert sweep(failed=[("seed=1", "why")]).startswith("What does it cost?\n\nNo trial has come to its end.\n\n")


@pytest.mark.parametrize("count", [80, 1000])
def test_a_table_that_is_too_long_for_a_tag_says_how_much_is_left_out(count: int) -> None:
    trials = [trial(0.9, 0, swept={"prune.amount": number / 1000}) for number in range(count)]
    failed = [(f"seed={seed}", "so it " * 100) for seed in range(12)]
    note = sweep(*trials, failed=failed, description="long " * 1000)
    assert len(note) <= 5000
    shown = note.count("\n| prune.amount=")
    assert 5 < shown < count
    assert f"\n\n… and {count - shown} more: all are in `summary.csv`.\n\n" in note
    assert note.endswith("`framework run prune.yaml`")
