"""Metrics give what is computed by hand, however many batches there are, and data have the targets of their task."""

import json
from collections.abc import Callable, Mapping
from math import exp, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from framework import Arrays, Classification, DataError, Multilabel, PluginError, Regression, StageError, Task
from framework._component import build
from framework._measures import Measures, Meter, measured_by, measures
from framework._plan import as_it_stands, make_plans
from framework._registry import installed
from framework._spec import load
from framework._trial import task_of
from framework.testing import check_metric

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


# --- what a metric promises ----------------------------------------------------------------------------------------


class MeanOfMeans:
    """The mean of the batches' accuracies, which is not that of all inputs."""

    higher_is_better = True

    def __init__(self) -> None:
        self.means: list[float] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Take a batch."""
        self.means.append(float((outputs.argmax(1) == targets).float().mean()))

    def compute(self) -> float:
        return sum(self.means) / len(self.means)


def test_the_check_of_metrics_finds_what_depends_on_batches_and_what_says_nothing() -> None:
    with pytest.raises(AssertionError, match=r"metric 'MeanOfMeans' gives .* of all inputs at once and .* in batches"):
        check_metric(MeanOfMeans)
    with pytest.raises(
        AssertionError, match="metric 'Silent' must say in higher_is_better whether more of it is better"
    ):
        check_metric(Silent)
