"""Metrics of torchmetrics, which takes seconds to import, so that it is imported where one is made.

Their arguments are not validated again in every step, for which they would wait for the device.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from framework import Classification, Interval, Metric, StageError, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

Average: TypeAlias = Literal["micro", "macro", "weighted"]
Threshold: TypeAlias = Annotated[float, Interval(gt=0, lt=1)]


def accuracy(
    task: str,
    num_classes: int = 0,
    num_labels: int = 0,
    average: Average = "micro",
    top_k: Annotated[int, Interval(ge=1)] = 1,
    threshold: Threshold = 0.5,
) -> Metric:
    """The fraction of right answers, in [0, 1].

    Args:
        task: of the data.
        num_classes: how many outputs are classes.
        num_labels: how many outputs are labels.
        average: of all answers (``micro``); or over the classes or labels, which count alike (``macro``) or as often as
            they are true (``weighted``).
        top_k: how many of the largest outputs may be that of the true class.
        threshold: the probability above which a label is predicted.

    Example:
        metrics: [accuracy, {name: accuracy, top_k: 5, as: top5}]
    """
    if (task, average, top_k) == ("multiclass", "micro", 1):
        return Classification().metrics(num_classes)["accuracy"]  # which is exact, and at once there
    return _of_classes("Accuracy", task, num_classes, num_labels, average=average, top_k=top_k, threshold=threshold)


def _counted(name: str, what: str, also: str) -> Callable[..., Metric]:
    """Return what makes a metric of classes or labels.

    Args:
        name: of the class in torchmetrics.
        what: it is, as documentation has it.
        also: the name of a metric that goes with it, for an example.
    """

    def metric(
        task: str,
        num_classes: int = 0,
        num_labels: int = 0,
        average: Average = "macro",
        threshold: Threshold = 0.5,
    ) -> Metric:
        return _of_classes(name, task, num_classes, num_labels, average=average, threshold=threshold)

    metric.__doc__ = f"""{what}, in [0, 1].

    Args:
        task: of the data.
        num_classes: how many outputs are classes.
        num_labels: how many outputs are labels.
        average: over the classes or labels, alike (``macro``) or by how often they are true (``weighted``); or
            of all answers (``micro``).
        threshold: the probability above which a label is predicted.

    Example:
        metrics: [{also}]
    """
    return metric


def _ranked(name: str, what: str) -> Callable[..., Metric]:
    """Return what makes a metric of the order of probabilities; see `_counted`."""

    def metric(
        task: str,
        num_classes: int = 0,
        num_labels: int = 0,
        average: Literal["macro", "weighted"] = "macro",
        thresholds: Annotated[int, Interval(ge=2)] | None = None,
    ) -> Metric:
        return _of_classes(name, task, num_classes, num_labels, average=average, thresholds=thresholds)

    metric.__doc__ = f"""{what}, in [0, 1].

    Args:
        task: of the data.
        num_classes: how many outputs are classes.
        num_labels: how many outputs are labels.
        average: over the classes or labels, which count alike (``macro``) or as often as they are true (``weighted``).
        thresholds: at how many of them, evenly spread, it is computed, in constant memory; null is exact, and keeps all
            outputs of a pass.

    Example:
        metrics: [accuracy, auroc, {{name: average_precision, thresholds: 100}}]
    """
    return metric


def _of_classes(name: str, task: str, num_classes: int, num_labels: int, **options: Any) -> Metric:
    """Make a metric of torchmetrics for classes or labels."""
    if task not in ("multiclass", "multilabel"):
        raise StageError(
            f"it is of classes or labels, and the task of the data is {task}: name another one, such as rmse"
        )
    import torchmetrics

    sizes = {"num_classes": num_classes, "num_labels": num_labels}
    made: Metric = getattr(torchmetrics, name)(task=task, **sizes, validate_args=False, **options)
    return made


def perplexity(task: str) -> Metric:
    """The exponential of the mean cross entropy, ≥ 1, as language models are measured by.

    Args:
        task: of the data.

    Example:
        metrics: [perplexity, accuracy]
    """
    if task != "multiclass":
        raise StageError(f"it is of classes, and the task of the data is {task}: name another one")
    from torch.nn.functional import cross_entropy
    from torchmetrics.text import Perplexity

    class OfPlaces(Perplexity):
        """Takes the outputs of single classes too, and has the classes where torch's losses have them."""

        def update(self, outputs: "Tensor", targets: "Tensor") -> None:
            # Its own way chooses places by a mask, for which a GPU is waited for.
            self.total_log_probs += cross_entropy(outputs, targets, reduction="sum")
            self.count += targets.numel()

    made: Metric = OfPlaces()
    return made


def _of_quantities(name: str, what: str, **options: Any) -> Callable[..., Metric]:
    """Return what makes a metric of quantities; see `_counted`."""

    def metric(task: str) -> Metric:
        if task != "regression":
            raise StageError(f"it is of quantities, and the task of the data is {task}: name another one, such as f1")
        from torchmetrics import regression

        made: Metric = getattr(regression, name)(**options)
        return made

    metric.__doc__ = f"""{what}.

    Args:
        task: of the data.

    Example:
        metrics: [rmse, mae, r2]
    """
    return metric


@hookimpl
def register_metrics() -> Mapping[str, Callable[..., Metric]]:
    return {
        "accuracy": accuracy,
        "auroc": _ranked("AUROC", "The area under the receiver operating characteristic"),
        "average_precision": _ranked(
            "AveragePrecision", "The area under the precision-recall curve; averaged, the mAP"
        ),
        "f1": _counted("F1Score", "The harmonic mean of precision and recall", "f1, accuracy"),
        "iou": _counted("JaccardIndex", "Intersection over union, as segmentation is measured by", "iou, accuracy"),
        "mae": _of_quantities("MeanAbsoluteError", "The mean absolute error"),
        "mse": _of_quantities("MeanSquaredError", "The mean squared error"),
        "perplexity": perplexity,
        "precision": _counted("Precision", "The fraction of what is predicted that is true", "precision, recall"),
        "r2": _of_quantities("R2Score", "The coefficient of determination, R², ≤ 1; averaged over the quantities"),
        "recall": _counted("Recall", "The fraction of what is true that is predicted", "recall, precision"),
        "rmse": _of_quantities("MeanSquaredError", "The root of the mean squared error", squared=False),
    }
