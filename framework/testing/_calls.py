"""Checks of models, datasets, metrics and schedules."""

import pickle
from collections.abc import Callable, Sequence
from itertools import product
from math import isclose, isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn, optim

from framework._component import Component
from framework._data import Arrays, Source
from framework._dataset import Dataset
from framework._engine import Trainer
from framework._masks import prunable
from framework._task import Classification, Metric, Task
from framework._trial import describe_changes, fill_lazy, network_state, restore_network, unkept
from framework.testing._assertions import component, difference, explained, numbers, require, same, seeded, stored

_CLASSES = 3


def check_model(
    factory: Callable[..., nn.Module],
    *,
    shapes: Sequence[tuple[int, int, int]] = ((1, 8, 8), (3, 32, 32)),
    **parameters: Any,
) -> None:
    """Check that a model keeps its contracts.

    It is a module that gives finite outputs (N, classes) for N images, the same ones for the same images in eval mode.
    Its initial weights depend on torch's seed only, its state survives ``state_dict``, and a step of training changes
    its weights. What training changes besides is in its parameters and buffers (``persistent=False`` too), as the
    network is built anew for every stage and filled from them.

    Args:
        factory: the model, as registered.
        shapes: (channels, height, width) of the images to try.
        parameters: its parameters, as YAML gives them.

    Raises:
        AssertionError: it breaks a contract; the text says which, and how to mend that.

    Example:
        >>> from torch import nn
        >>> from framework.testing import check_model
        >>> def linear(shape: tuple[int, int, int], classes: int) -> nn.Module:
        ...     \"\"\"One linear layer.\"\"\"
        ...     channels, height, width = shape
        ...     return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, classes))
        >>> check_model(linear)
    """
    subject, made = component("model", factory, parameters)
    for shape in shapes:
        _check_model(subject, made, shape)


def _check_model(subject: str, made: Component, shape: tuple[int, int, int]) -> None:
    size, images, labels = "×".join(map(str, shape)), numbers(4, *shape), torch.arange(4) % _CLASSES

    def fresh(seed: int) -> nn.Module:
        hint = "if it takes others, give them as check_model(…, shapes=[…])"
        with seeded(seed), explained(f"{subject} cannot be made for images of {size} ({hint})"):
            model = made(shape=shape, classes=_CLASSES)
        require(isinstance(model, nn.Module), f"{subject} must give a torch.nn.Module, not a {type(model).__name__}")
        with seeded(seed), explained(f"{subject} cannot be given its sizes"):
            fill_lazy(model, made.name, shape)
        return model  # type: ignore[no-any-return]

    def evaluated(model: nn.Module) -> Tensor:
        with torch.no_grad(), explained(f"{subject} cannot evaluate 4 images of {size}"):
            outputs = model.eval()(images)
        found = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        require(
            found == (4, _CLASSES),
            f"{subject} must give outputs (4, {_CLASSES}) for 4 images and {_CLASSES} classes, not {found}",
        )
        require(bool(outputs.isfinite().all()), f"{subject} gives outputs that are not finite for images of {size}")
        return outputs  # type: ignore[no-any-return]

    model, twin, other = fresh(0), fresh(0), fresh(1)
    diff = difference(model.state_dict(), twin.state_dict())
    require(not diff, f"{subject} has other initial weights for the same torch seed ({diff}): draw from torch only")
    outputs = evaluated(model)
    diff = difference(twin.state_dict(), model.state_dict())
    require(not diff, f"{subject} changes its state in eval mode ({diff})")
    require(same(outputs, evaluated(model)), f"{subject} gives two outputs for the same images in eval mode")
    with explained(f"{subject} cannot be pruned"):
        prunable(model)
    with explained(f"{subject}: its state_dict cannot be stored and loaded again"):
        other.load_state_dict(stored(model.state_dict()))
    require(
        same(outputs, evaluated(other)),
        f"{subject} gives other outputs after state_dict and load_state_dict: keep all in parameters and buffers",
    )
    started = unkept(model)
    with seeded(), explained(f"{subject} cannot be trained"):
        trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.01), precision="float32")
        trainer.step(images, labels)
    require(
        not all(same(weight, twin.get_parameter(name)) for name, weight in model.named_parameters()),
        f"{subject}: a step of training changes none of its weights",
    )
    lost = "; ".join(describe_changes(started, unkept(model)))
    keep = (
        "the network is built anew for every stage and filled from its parameters and buffers, so keep it in a buffer"
    )
    require(not lost, f"{subject}: training changes what is lost after a stage ({lost}): {keep}")
    again = fresh(1)
    with explained(f"{subject}: its state after training cannot be put into one that is built anew"):
        restore_network(again, stored(network_state(model)))
    require(
        same(evaluated(model), evaluated(again)),
        f"{subject} gives other outputs after training than one with its state: {keep}",
    )


def check_dataset(factory: Callable[..., Dataset | Source], **parameters: Any) -> None:
    """Check that a dataset keeps its contracts.

    It is a `framework.Dataset`, the same whenever it is loaded; every class has images to train on, and not all images
    to test on are among them. If it is a `framework.Source`, it can be sent to another process, and gives the same
    batches whenever it is asked for a pass, as many as it says.

    Args:
        factory: the dataset, as registered.
        parameters: its parameters, as YAML gives them.

    Raises:
        AssertionError: it breaks a contract; the text says which, and how to mend that.

    Example:
        >>> from framework import Dataset
        >>> from framework.testing import check_dataset, tiny_data
        >>> def noise(seed: int = 0) -> Dataset:
        ...     \"\"\"Noise in three brightnesses.\"\"\"
        ...     return tiny_data(seed=seed)
        >>> check_dataset(noise, seed=1)
    """
    subject, made = component("dataset", factory, parameters)
    with explained(f"{subject} cannot be loaded"):
        one, other = made(validation=0.25), made(validation=0.25)
    if not isinstance(one, Dataset) and callable(getattr(one, "open", None)):
        _check_source(subject, one, other)
        return
    require(
        isinstance(one, Dataset),
        f"{subject} must give a framework.Dataset or a framework.Source, not a {type(one).__name__}",
    )
    for name in ("train_images", "train_labels", "test_images", "test_labels", "classes"):
        require(
            np.array_equal(getattr(one, name), getattr(other, name)),
            f"{subject}: its {name} differ when it is loaded again: sort what a folder lists, and seed what is drawn",
        )
    missing = sorted(set(range(len(one.classes))) - {*one.train_labels.tolist()})
    require(not missing, f"{subject}: there is no image to train on of the classes {[one.classes[i] for i in missing]}")
    trained = {image.tobytes() for image in one.train_images}
    require(
        not all(image.tobytes() in trained for image in one.test_images),
        f"{subject}: all its test images are among the training images",
    )


def _check_source(subject: str, one: Source, other: Source) -> None:
    missing = ", ".join(name for name in ("shape", "dtype", "task", "notes") if not hasattr(one, name))
    require(not missing, f"{subject} gives a {type(one).__name__}, which has no {missing}: see framework.Source")
    with explained(f"{subject} cannot be sent to another process"):
        other = pickle.loads(pickle.dumps(other))
    with explained(f"{subject} cannot be opened"):
        data, again = (source.open(torch.device("cpu"), ()) for source in (one, other))
    require({"train", "test"} <= {*data.splits}, f"{subject} must have the splits train and test, not {data.splits}")
    for split, seed in product(data.splits, (None, 0)):
        where = f"batches of {split!r} with seed {seed}"
        with explained(f"{subject} cannot give {where}"):
            passes = [list(each.batches(split, 4, seed=seed).epoch(1)) for each in (data, again)]
            count = len(data.batches(split, 4, seed=seed))
        require(len(passes[0]) == count, f"{subject}: len of {where} is {count}, but there are {len(passes[0])}")
        require(count > 0, f"{subject}: there are no {where}")
        same_batches = all(same(a, b) for batches in zip(*passes, strict=True) for a, b in zip(*batches, strict=True))
        require(same_batches, f"{subject} gives other {where} each time: draw by seed and number of the pass only")


def check_metric(factory: Callable[..., Metric], *, data: Arrays | None = None, **parameters: Any) -> None:
    """Check that a metric keeps its contracts.

    It says whether more of it is better, and gives one finite number, the same for the same inputs however they are
    divided into batches.

    Args:
        factory: the metric, as registered.
        data: inputs of another task than classification, and its targets, at least eight to train on.
        parameters: its parameters, as YAML gives them.

    Raises:
        AssertionError: it breaks a contract; the text says which, and how to mend that.

    Example:
        >>> from framework.testing import check_metric
        >>> class Errors:
        ...     \"\"\"How many predictions are wrong.\"\"\"
        ...     higher_is_better = False
        ...     def __init__(self) -> None:
        ...         self.count = 0
        ...     def update(self, outputs, targets) -> None:
        ...         self.count += int((outputs.argmax(1) != targets).sum())
        ...     def compute(self) -> int:
        ...         return self.count
        >>> check_metric(Errors)
    """
    subject, made = component("metric", factory, parameters)
    task: Task = data.task if data else Classification(("a", "b", "c"))
    outputs = numbers(8, len(task.outputs))
    targets = torch.tensor(data.splits["train"][1][:8]) if data else torch.arange(8) % _CLASSES

    def value(*cuts: int) -> float:
        with explained(f"{subject} cannot be made for a task of {len(task.outputs)} outputs"):
            metric: Metric = made(**task.options(len(task.outputs)))
        higher = getattr(metric, "higher_is_better", None)
        require(isinstance(higher, bool), f"{subject} must say in higher_is_better whether more of it is better")
        with explained(f"{subject} cannot take 8 inputs in {len(cuts) + 1} batches"):
            for index in torch.arange(8).tensor_split(cuts):
                metric.update(*task.read(outputs[index], targets[index]))
        with explained(f"{subject} must give one number"):
            return float(metric.compute())

    whole, parts = value(), value(1, 5)
    require(isfinite(whole), f"{subject} gives {whole}, which is not finite")
    require(
        isclose(whole, parts, rel_tol=1e-5, abs_tol=1e-6),
        f"{subject} gives {whole:g} of all inputs at once and {parts:g} of the same in batches: count in update, and "
        "divide in compute",
    )


def check_schedule(factory: Callable[..., float], **parameters: Any) -> None:
    """Check that a schedule keeps its contracts.

    It gives a finite factor >= 0, a float, at any time of a training of any length, and always the same one.

    Args:
        factory: the schedule, as registered.
        parameters: its parameters, as YAML gives them.

    Raises:
        AssertionError: it breaks a contract; the text says which, and how to mend that.

    Example:
        >>> from framework.testing import check_schedule
        >>> def sqrt(epoch: float, epochs: float) -> float:
        ...     \"\"\"The inverse of the square root of the time.\"\"\"
        ...     return (1 + epoch) ** -0.5
        >>> check_schedule(sqrt)
    """
    subject, made = component("schedule", factory, parameters)
    for epochs in (0.5, 1.0, 5.0):
        for epoch in (epochs * i / 40 for i in range(41)):
            when = f"at {epoch:g} of {epochs:g} epochs"
            with explained(f"{subject} fails {when}"):
                factor, again = (made(epoch=epoch, epochs=epochs, steps=40) for _ in range(2))
            require(
                isinstance(factor, float | int) and isfinite(factor) and factor >= 0,
                f"{subject} must give a finite float >= 0, not {factor!r} {when}",
            )
            require(factor == again, f"{subject} gives {factor!r} and then {again!r} {when}")
