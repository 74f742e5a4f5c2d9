"""Regression, labels, sequences and masks go through trials as classification does, by their own metrics."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from running import here, parents, trials, write
from test_bring_your_own import FILES
from torch import Tensor, nn

from framework import (
    Arrays,
    Classification,
    SpecError,
    Trial,
)
from framework._measures import CLASSIFIED, Measures
from framework._plan import TrialPlan, as_it_stands, make_plans
from framework._plan.explain import explain
from framework._registry import Registry, installed
from framework._report.figures import FigureData, trial_figures
from framework._spec import load
from framework._store import Store
from framework._trial import prepare, run_trial
from framework.testing import run_stage, tiny_trial

# --- trials --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(spec: str, *settings: str) -> tuple[TrialPlan, Registry]:
    plan = make_plans(load(spec, installed(), settings), as_it_stands)[0]
    return plan, installed().with_code(plan.code)


def run(plan: TrialPlan, registry: Registry, folder: Path) -> Trial:
    return run_trial(plan, registry, prepare(plan.data, registry), Store(folder), lambda report: None)


def test_a_trial_of_quantities_stops_where_the_error_rises_and_goes_on_from_the_store(folder: Path) -> None:
    stopping = "stages.0.train={epochs: 9, early_stopping: {patience: 1}, optimizer: {name: adamw, lr: 0.1}}"
    plan, registry = planned("quantities.yaml", stopping, "stages.1.prune.amount=0.5")
    trial = run(plan, registry, folder / "store")
    errors = [record.metrics["val/rmse"] for record in trial.records if record.stage == 0]
    assert len(errors) < 9
    # Each was lower than all before, but for the last one.
    assert all(error < min(errors[:i]) for i, error in enumerate(errors[1:-1], 1))
    assert errors[-1] >= min(errors[:-1])
    last = trial.records[-1].metrics
    assert {"test/rmse", "test/mae", "test/r2", "test/loss"} <= last.keys()
    assert last["test/loss"] == pytest.approx((last["test/rmse"] / trial.task.std[0]) ** 2, rel=1e-5)  # type: ignore[attr-defined]
    assert last["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert "confusion.json" not in trial.artifacts
    again = run(plan, registry, folder / "store")
    assert [record.metrics for record in again.records[:-1]] == [record.metrics for record in trial.records[:-1]]
    assert again.records[-1].metrics == last


def test_a_trial_of_characters_holds_what_is_frozen_and_prunes_the_recurrent_weights(folder: Path) -> None:
    plan, registry = planned("characters.yaml")
    source = prepare(plan.data, registry)
    trial = run(plan, registry, folder / "store")
    assert (trial.data.dtype, trial.batches("test", 4).epoch(0).__next__()[0].dtype) == (torch.int64,) * 2
    order = ["embedding.weight", "lstm.weight_ih_l0", "lstm.weight_hh_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0"]
    assert trial.forward_order[0] == order[0]
    assert {*trial.forward_order[1:5]} == {*order[1:]}
    assert {*trial.weights()} == {"lstm.weight_ih_l0", "lstm.weight_hh_l0", "head.weight"}
    assert trial.records[-1].metrics["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert trial.records[-1].metrics["test/perplexity"] < len(source.task.outputs)
    assert json.loads(trial.artifacts["confusion.json"])["classes"] == [*source.task.outputs]


class Attention(nn.Module):
    """Attention over embedded tokens, and a class for each of them."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        embedded = self.embedding(tokens)
        return self.head(self.attention(embedded, embedded, embedded, need_weights=False)[0]).transpose(1, 2)


def copying() -> Trial:
    """A trial of attention that is to say each token again."""
    tokens = np.random.default_rng(0).integers(0, 5, (24, 6))
    data = Arrays({"train": (tokens, tokens), "test": (tokens, tokens)}, Classification("abcde"))
    return tiny_trial(model=Attention(5), data=data)


def test_attention_is_pruned_and_an_embedding_only_by_its_name() -> None:
    trial = run_stage("prune", copying(), amount=0.5)
    assert {*trial.masks} == {"attention.in_proj_weight", "attention.out_proj.weight", "head.weight"}
    trial = run_stage("prune", copying(), amount=0.5, layers=["embedding", "head"])
    assert {name: int((~mask).sum()) for name, mask in trial.masks.items()}.keys() == {
        "embedding.weight",
        "head.weight",
    }
    assert sum(int((~mask).sum()) for mask in trial.masks.values()) == 40  # of 5 × 8, twice
    trial.report({})
    assert trial.records[-1].metrics["sparsity"] == pytest.approx(40 / (40 + 192 + 64 + 40))
    run_stage("train", trial, steps=2, batch_size=8)
    assert not trial.model.embedding.weight[~trial.masks["embedding.weight"]].any()
    run_stage("unprune", trial)
    assert "embedding.weight" not in trial.weights()


def test_a_spec_that_is_kept_with_a_run_names_its_metrics(folder: Path) -> None:
    from framework._executors.recorder import _as_spec

    plan, registry = planned("labels.yaml")
    (folder / "again.yaml").write_text(_as_spec(plan))
    again = make_plans(load("again.yaml", installed()), as_it_stands)[0]
    assert (again.key, [*again.metrics]) == (plan.key, ["f1", "strict_f1", "auroc", "accuracy"])
    other, _ = planned("labels.yaml", "metrics=[accuracy]")
    assert other.keys[0] != plan.keys[0]
    assert [line.partition(":")[0] for line in explain(plan, other, registry)] == ["metrics"]
    trial = run(plan, registry, folder / "store")
    assert trial.measures == Measures({"f1": True, "strict_f1": True, "auroc": True, "accuracy": True})
    assert 0.3 < trial.records[-1].metrics["test/f1"] <= 1
    assert trial.records[-1].metrics.keys() >= {"test/strict_f1", "test/auroc", "test/accuracy"}


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ("accuracy", "must be a list of metrics, such as [accuracy, {name: f1, average: macro}], not 'accuracy'"),
        ("[acuracy]", "unknown metric 'acuracy' (did you mean 'accuracy'?)"),
        ("[{name: f1, average: all}]", "must be 'micro', 'macro' or 'weighted', not 'all'"),
        ("[f1, {name: f1, average: micro}]", "two metrics are called 'f1': tell them apart with as: other_name"),
        ("[{name: f1, as: loss}]", "must be a word other than loss"),
        ("[{choice: [f1, iou]}]", "a search space can stand in model, data, defaults, stages only"),
    ],
)
def test_wrong_metrics_are_told(metrics: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(
        f"model: mlp\ndata: digits\nstages: [train: {{steps: 1}}]\nmetrics: {metrics}\n"
    )
    with pytest.raises(SpecError) as error:
        load(tmp_path / "spec.yaml", installed())
    assert text in str(error.value)


ERRORS = """
        class Errors:
            higher_is_better = False

            def __init__(self, scale: float = 1.0):
                self.count, self.scale = 0, scale

            def update(self, outputs, targets):
                self.count += int((outputs.argmax(1) != targets).sum())

            def compute(self):
                return self.count * self.scale
        """
MINE = """
        model: {name: mlp, widths: [8]}
        data: digits
        metrics: [{name: ./mine.py:Errors, scale: 0.5}]
        stages: [train: {steps: 1}]
        """


def test_a_metric_in_a_file_is_named_as_any_component(tmp_path: Path) -> None:
    write(tmp_path, {"mine.py": ERRORS, "spec.yaml": MINE})
    plan = make_plans(load(tmp_path / "spec.yaml", installed()), as_it_stands)[0]
    trial = run(plan, installed().with_code(plan.code), tmp_path / "store")
    assert trial.measures == Measures({"Errors": False})
    errors = 2 * trial.records[-1].metrics["test/Errors"]
    assert errors == round(errors) > 0


# --- results -------------------------------------------------------------------------------------------------------


def test_what_a_run_tells_of_its_metrics_is_read_back_as_far_as_it_fits() -> None:
    many = Measures({"rmse": False, **{f"metric_{i}": True for i in range(500)}})
    found = Measures.of(many.text(5000))
    assert len(many.text(5000)) <= 5000 < len(many.text(10**6))
    assert (found.primary, found.maximize("val/rmse")) == ("rmse", False)
    assert Measures.of(many.text(10**6)) == many


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"accuracy": 1}', "[" * 5000])
def test_what_else_stands_there_counts_for_nothing(text: str) -> None:
    assert Measures.of(text) == CLASSIFIED


def test_the_curves_of_a_trial_are_of_its_primary_metric() -> None:
    records = [(epoch, 0, {"train/rmse": 2.0, "val/rmse": 3.0, "train/loss": 1.0}) for epoch in (1, 2)]
    figure = trial_figures(FigureData("toy", ["train"], records, primary="rmse"))["curves"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "rmse", "sparsity"]
    assert figure.axes[1].lines[0].get_ydata().tolist() == [2.0, 2.0]


def test_an_invocation_goes_by_the_primary_metric(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["--set", "stages.0.train.epochs=1", "--set", "stages.2.train.epochs=1", "--root", "results"]
    settings += ["--set", "stages.1.prune.amount={uniform: [0.2, 0.9]}", "--set", "search.samples=2"]
    assert here("run", "quantities.yaml", "--executor", "inline", *settings, monkeypatch=monkeypatch) == 0
    said = capsys.readouterr().out
    found = {name: run.data.metrics for name, run in trials(folder / "results", "quantities").items()}
    best = min(found, key=lambda name: found[name]["val/rmse"])
    assert f"best of quantities: {best.removesuffix(' seed=0')}: val/rmse {found[best]['val/rmse']:.4f}" in said
    assert "test rmse" in said
    assert "accuracy" not in said
    for run in trials(folder / "results", "quantities").values():
        assert run.data.tags["framework.higher_is_better"] == '{"rmse": false, "mae": false, "r2": true}'
        assert "test rmse" in run.data.tags["mlflow.note.content"]
    [parent] = parents(folder / "results", "quantities")
    assert "test/rmse ↓" in parent.data.tags["mlflow.note.content"]
    for command in (["compare"], ["figures", "--output", "drawn"], ["report", "--output", "page.html"]):
        assert here(command[0], "quantities", "--root", "results", *command[1:], monkeypatch=monkeypatch) == 0
    assert "test/rmse ↓" in capsys.readouterr().out
    assert {"rmse-against-sparsity.png", "rmse-over-epochs.png"} <= {file.name for file in Path("drawn").iterdir()}
    assert "test/rmse" in Path("page.html").read_text()
