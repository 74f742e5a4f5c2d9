"""Regression, labels, sequences and masks go through trials as classification does, by their own metrics."""

import json
from collections.abc import Callable, Mapping
from math import exp, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from running import here, parents, trials, write
from test_bring_your_own import FILES
from torch import Tensor, nn

from framework import (
    Arrays,
    Classification,
    DataError,
    Multilabel,
    PluginError,
    Regression,
    SpecError,
    StageError,
    Task,
    Trial,
)
from framework._component import build
from framework._measures import Measures, Meter, measured_by, measures
from framework._plan import TrialPlan, as_it_stands, make_plans
from framework._plan.explain import explain
from framework._registry import Registry, installed
from framework._report.figures import FigureData, trial_figures
from framework._spec import load
from framework._store import Store
from framework._trial import prepare, run_trial, task_of
from framework.testing import run_stage, tiny_trial

# --- metrics, by hand ----------------------------------------------------------------------------------------------

TWO = Classification(("a", "b"))


def measured(task: Task, metrics: Mapping[str, Any], *batches: tuple[Any, Any]) -> dict[str, float]:
    """Metrics of a spec, by name or with parameters, over some batches."""
    plans = {name: build(installed(), "metric", metric).plain() for name, metric in metrics.items()}
    source = Arrays({"train": _ones(task), "test": _ones(task)}, task)
    meter = Meter(task_of(source, plans, installed()))
    for outputs, targets in batches:
        meter.update(torch.tensor(outputs), torch.tensor(targets))
    return meter.compute()


def _ones(task: Task) -> tuple[Any, Any]:
    shape = (2,) if isinstance(task, Classification) else (2, len(task.outputs))
    return np.ones((2, 3)), np.ones(shape, np.int64)


def test_quantities_are_measured_in_their_own_units_over_all_batches() -> None:
    task = Regression(("x",), mean=(100.0,), std=(10.0,))
    # Off by 10, by -20 and by 0: the means of the batches' own roots would be others.
    batches = ([[1.0], [0.0]], [[0.0], [2.0]]), ([[1.0]], [[1.0]])
    found = measured(task, {name: name for name in ("rmse", "mse", "mae", "r2")}, *batches)
    assert found["mse"] == pytest.approx(500 / 3, rel=1e-12)
    assert found["rmse"] == pytest.approx(sqrt(500 / 3), rel=1e-12)
    assert found["mae"] == pytest.approx(10, rel=1e-12)
    assert found["r2"] == pytest.approx(1 - 500 / 200, rel=1e-12)


def test_quantities_far_from_0_lose_no_digits() -> None:
    task = Regression(("x",), mean=(1e6,), std=(1.0,))
    batches = [([[0.5]], [[0.0]]), ([[-0.5]], [[1.0]]), ([[0.0]], [[0.5]])]
    assert measured(task, {"r2": "r2"}, *batches)["r2"] == pytest.approx(1 - (0.25 + 2.25 + 0.25) / 0.5, abs=1e-6)


def test_labels_are_measured_by_probabilities() -> None:
    # Predicted: a yes yes no no; b no yes no no. True: a yes no yes no; b no yes no no.
    outputs = [[2.0, -1.0], [1.0, 0.1], [-1.0, -3.0], [-2.0, -0.2]]
    targets = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]
    metrics = {
        "macro": "f1",
        "micro": {"name": "f1", "average": "micro"},
        "accuracy": "accuracy",
        "precision": "precision",
        "strict": {"name": "recall", "threshold": 0.8},
        "auroc": "auroc",
    }
    found = measured(Multilabel(("a", "b")), metrics, (outputs[:1], targets[:1]), (outputs[1:], targets[1:]))
    assert found == pytest.approx(
        {
            "macro": (2 / 4 + 1) / 2,
            "micro": 4 / 6,
            "accuracy": 6 / 8,
            "precision": (1 / 2 + 1) / 2,
            "strict": (1 / 2 + 0) / 2,  # of a only sigmoid(2) = 0.88 counts
            "auroc": (3 / 4 + 1) / 2,
        }
    )


def test_a_batch_of_small_logits_is_not_taken_for_probabilities() -> None:
    # sigmoid(0.4) > 0.5, though 0.4 is below it.
    assert measured(Multilabel(("a",)), {"recall": "recall"}, ([[0.4]], [[1.0]])) == {"recall": 1.0}


def test_each_place_of_a_sequence_or_a_mask_counts() -> None:
    row = [[[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]]]  # predicted: a b b
    metrics = {"accuracy": "accuracy", "iou": "iou", "perplexity": "perplexity"}
    found = measured(TWO, metrics, (row, [[0, 1, 0]]), (row, [[0, 1, 1]]))
    losses = 2 * np.log(1 + np.exp(-2)) + 3 * np.log(1 + np.exp(-1)) + np.log(1 + np.exp(1))
    assert found["accuracy"] == 5 / 6
    assert found["iou"] == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert found["perplexity"] == pytest.approx(exp(losses / 6), rel=1e-5)


def test_perplexity_of_single_classes_is_that_of_the_cross_entropy() -> None:
    found = measured(TWO, {"perplexity": "perplexity"}, ([[0.0, 0.0], [0.0, 1.0]], [0, 1]))
    assert found["perplexity"] == pytest.approx(sqrt(2 * (1 + exp(-1))))


def test_accuracy_may_be_of_each_class_alike_or_of_the_largest_outputs() -> None:
    metrics = {"macro": {"name": "accuracy", "average": "macro"}, "top2": {"name": "accuracy", "top_k": 2}}
    outputs = [[3.0, 2.0, 1.0]] * 4
    assert measured(Classification("abc"), metrics, (outputs, [0, 0, 1, 2])) == pytest.approx(
        {"macro": 1 / 3, "top2": 3 / 4}
    )


def test_the_confusion_of_places_counts_all_of_them_and_is_only_of_classes() -> None:
    meter = Meter(TWO, files=True)
    for _ in range(2):
        meter.update(torch.tensor([[[2.0, 0.0, 0.0], [0.0, 1.0, 1.0]]]), torch.tensor([[0, 1, 0]]))
    assert json.loads(meter.files()["confusion.json"]) == {"classes": ["a", "b"], "counts": [[2, 2], [0, 2]]}
    assert Regression(("x",)).files() == Multilabel(("x",)).files() == {}


@pytest.mark.parametrize(
    ("task", "metric", "text"),
    [
        (Regression(("x",)), "f1", "it is of classes or labels, and the task of the data is regression"),
        (Regression(("x",)), "perplexity", "it is of classes, and the task of the data is regression"),
        (TWO, "rmse", "it is of quantities, and the task of the data is multiclass: name another one, such as f1"),
        (
            Multilabel(("x",)),
            "torchmetrics.classification:MulticlassF1Score",
            "metric 'torchmetrics.classification:MulticlassF1Score' is made with num_classes, which there is none of",
        ),
    ],
)
def test_a_metric_of_another_task_says_so(task: Task, metric: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(
        f'model: mlp\ndata: digits\nstages: [train: {{steps: 1}}]\nmetrics: ["{metric}"]'
    )
    plan = make_plans(load(tmp_path / "spec.yaml", installed()), as_it_stands)[0]
    source = Arrays({"train": _ones(task), "test": _ones(task)}, task)
    with pytest.raises(StageError) as error:
        measures(task_of(source, plan.metrics, installed().with_code(plan.code)))
    assert str(error.value).startswith(text)


class Silent:
    """Does not say whether more of it is better."""

    higher_is_better = None

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Nothing."""

    def compute(self) -> Tensor:
        return torch.ones(2)


def test_a_metric_must_say_whether_more_is_better_and_give_a_number() -> None:
    task = measured_by(TWO, {"silent": lambda options: Silent()})
    with pytest.raises(PluginError, match="metric 'silent' does not say whether more of it is better: set its higher_"):
        measures(task)
    meter = Meter(task)
    meter.update(torch.ones(1, 2), torch.tensor([0]))
    with pytest.raises(
        StageError, match=r"metric 'silent' must give a number, not tensor\(\[1\., 1\.\]\): have it ave"
    ):
        meter.compute()


def test_torchmetrics_says_what_is_better() -> None:
    assert measures(Regression(("x",))) == Measures({"rmse": False, "mae": False, "r2": True})
    assert measures(Multilabel(("x", "y"))) == Measures({"f1": True, "accuracy": True})
    assert measures(TWO) == Measures({"accuracy": True})


# --- data ----------------------------------------------------------------------------------------------------------


def arrays(task: Task, targets: Any, inputs: Any = None) -> Arrays:
    inputs = np.zeros((len(targets), 2)) if inputs is None else inputs
    return Arrays({"train": (inputs, np.array(targets)), "test": (inputs, np.array(targets))}, task)


def test_targets_take_the_form_that_their_loss_takes() -> None:
    assert arrays(Regression(("x",)), [1, 2]).splits["train"][1].tolist() == [[1.0], [2.0]]
    assert arrays(Multilabel(("x", "y")), [[True, False]]).splits["train"][1].dtype == np.float32
    masks = arrays(TWO, np.ones((2, 4, 4), bool))
    assert (masks.splits["test"][1].dtype, masks.dtype, masks.shape) == (np.int64, torch.float32, (2,))
    assert arrays(TWO, [0], np.ones((1, 3), np.uint8)).dtype == torch.int64


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: arrays(TWO, [0, 2]),
            "train: targets must be integers below the number of classes, 2, not int64 from 0",
        ),
        (
            lambda: arrays(TWO, [0.0, 1.0]),
            "train: targets must be integers below the number of classes, 2, not float64",
        ),
        (
            lambda: arrays(Multilabel(("x",)), [[2]]),
            "train: targets must be 0 or 1, of shape (N, 1), one for each label",
        ),
        (lambda: arrays(Multilabel(("x",)), [1]), "train: targets must be 0 or 1, of shape (N, 1), one for each label"),
        (
            lambda: arrays(Regression(("x",)), [[1, 2]]),
            "train: targets must have the shape (N, 1), a number for each qua",
        ),
        (lambda: arrays(TWO, [0], np.zeros((2, 2))), "train has 2 inputs and 1 targets"),
        (lambda: arrays(TWO, [0], np.array([["x"]])), "the inputs of train must be numbers, not <U1"),
        (lambda: Arrays({"train": _ones(TWO)}, TWO), "there is no split 'test': splits must have 'train' and 'test'"),
    ],
)
def test_arrays_that_do_not_fit_the_task_are_refused(make: Callable[[], Arrays], text: str) -> None:
    with pytest.raises(DataError) as error:
        make()
    assert str(error.value).startswith(text)


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
