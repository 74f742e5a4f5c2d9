"""Hooks that register components."""

from collections.abc import Callable, Mapping

from torch import nn, optim

from framework._data import Source
from framework._dataset import Dataset
from framework._hookspecs.marks import hookspec
from framework._stage import Stage
from framework._task import Metric


@hookspec
def register_stages() -> Mapping[str, type[Stage]]:  # type: ignore[empty-body]
    """Stages: the steps of an experiment. Frozen dataclasses that derive from `framework.Stage`.

    The fields are the parameters. ``run(trial)`` changes the trial's state; what is masked has to stay 0 and what is
    frozen as it is, unless that is what the stage is there for. `framework.Trainer` sees to it by itself.

    Example:
        from dataclasses import dataclass
        from typing import Annotated

        from framework import Interval, Stage, Trial, hookimpl

        @dataclass(frozen=True)
        class Shrink(Stage):
            \"\"\"Multiply the weights of all layers that are not frozen by a factor.\"\"\"

            factor: Annotated[float, Interval(gt=0, lt=1)] = 0.5

            def run(self, trial: Trial) -> None:
                for name, weight in trial.weights().items():
                    if name not in trial.frozen:
                        weight.data.mul_(self.factor)

        @hookimpl
        def register_stages():
            return {"shrink": Shrink}
    """


@hookspec
def register_models() -> Mapping[str, Callable[..., nn.Module]]:  # type: ignore[empty-body]
    """Models: callables that return the network of a trial, a `torch.nn.Module`.

    It takes images, float32 (N, channels, height, width), with each channel normalised to mean 0 and standard deviation
    1 over the training set; or what else a `framework.Source` gives. It gives outputs (N, classes), or what else the
    `framework.Task` of the data says. It is made on the
    CPU, with torch already seeded; and anew for every stage, so what training changes has to be in its parameters and
    buffers.

    Called with:
        shape: of one input, ints; of an image (channels, height, width). A model that annotates it as
            ``tuple[int, int, int]`` is refused other data than images.
        classes: int, how many outputs: classes, labels or quantities.
        data_mean: floats, what has been subtracted from each channel of the images scaled to [0, 1], or from each
            column of a table; None of data that says nothing of it.
        data_std: as ``data_mean``; has been divided by.

    Example:
        from framework import hookimpl
        from torch import nn

        def perceptron(shape: tuple[int, int, int], classes: int, width: int = 64) -> nn.Module:
            \"\"\"A perceptron with one hidden layer.\"\"\"
            channels, height, length = shape
            hidden = nn.Linear(channels * height * length, width)
            return nn.Sequential(nn.Flatten(), hidden, nn.ReLU(), nn.Linear(width, classes))

        @hookimpl
        def register_models():
            return {"perceptron": perceptron}
    """


@hookspec
def register_datasets() -> Mapping[str, Callable[..., Dataset | Source]]:  # type: ignore[empty-body]
    """Datasets: callables that return a `framework.Dataset`, the same one each time; or a `framework.Source`.

    A dataset has images, uint8 (N, channels, height, width), and labels, int64 (N,), as NumPy arrays.
    `framework.Arrays` have inputs and targets of any shape, and say which `framework.Task` these are for. The framework
    holds the validation set out of the training set of both. Any other source gives batches of its own, of anything,
    and holds out what it is asked for; `framework.LoaderBatches` reads them by worker processes as they
    are needed, where data are larger than memory.

    Called with:
        validation: float, the fraction of the training set to hold out; for sources.

    Example:
        import numpy as np
        from framework import Dataset, hookimpl

        def noise(images: int = 100, seed: int = 0) -> Dataset:
            \"\"\"Dark noise and bright noise.\"\"\"
            labels = np.arange(images) % 2
            drawn = np.random.default_rng(seed).integers(0, 128, (images, 1, 8, 8))
            pixels = (drawn + 127 * labels.reshape(-1, 1, 1, 1)).astype(np.uint8)
            return Dataset(pixels[20:], labels[20:], pixels[:20], labels[:20], classes=("dark", "bright"))

        @hookimpl
        def register_datasets():
            return {"noise": noise}
    """


@hookspec
def register_losses() -> Mapping[str, Callable[..., nn.Module]]:  # type: ignore[empty-body]
    """Losses: callables that return a `torch.nn.Module` of (outputs, labels) with a scalar result.

    Outputs are what the model gives, float (N, classes), and labels int64 (N,); of data of another `framework.Task`,
    what that says. Where training mixes inputs, labels are probabilities, float32 (N, classes), which a loss need not
    take. The result is a mean over the batch, whatever the parameters: a class of torch that has a ``reduction`` is
    registered with a signature without it. A loss may have state, in buffers; it may change only where
    ``self.training`` is True.

    Example:
        from framework import hookimpl
        from torch import Tensor, nn
        from torch.nn import functional

        class Brier(nn.Module):
            \"\"\"Squared error of the probabilities (Brier 1950). Expects logits.\"\"\"

            def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
                wanted = functional.one_hot(labels, outputs.shape[1])
                return (outputs.softmax(1) - wanted).square().sum(1).mean()

        @hookimpl
        def register_losses():
            return {"brier": Brier}
    """


@hookspec
def register_optimizers() -> Mapping[str, Callable[..., optim.Optimizer]]:  # type: ignore[empty-body]
    """Optimizers: callables that return a `torch.optim.Optimizer` with an ``lr`` in every parameter group.

    Its ``step(closure)`` calls the closure at least once, with gradients enabled: that makes a whole forward and
    backward pass and gives the loss. Its state has to be in ``state_dict``. What is masked or frozen is put back after
    every step.

    An optimizer asks for those of the arguments that it needs; it has a default for ``model``, which not every stage
    gives. An option of a torch class that cannot work here, such as ``differentiable``, is left out by a signature
    without it.

    Called with:
        params: the parameters to train, a list of tensors.
        model: the network that they are of, by which an optimizer can tell layers apart. Not to be changed.

    Example:
        import torch
        from framework import hookimpl

        class SignSGD(torch.optim.SGD):
            \"\"\"SGD by the signs of the gradients (Bernstein et al. 2018, arXiv:1802.04434).\"\"\"

            def step(self, closure):
                loss = closure()
                for group in self.param_groups:
                    for param in group["params"]:
                        if param.grad is not None:
                            param.grad.sign_()
                super().step()
                return loss

        @hookimpl
        def register_optimizers():
            return {"signsgd": SignSGD}
    """


@hookspec
def register_schedules() -> Mapping[str, Callable[..., float]]:  # type: ignore[empty-body]
    """Schedules: functions of the time that return the factor on the learning rate, a float >= 0.

    They are called before every step. A schedule asks for those of the arguments that it needs; it has a default for
    ``steps``, which not every stage gives.

    Called with:
        epoch: float, the time since the stage began, in epochs; 0 before the first step.
        epochs: float, how long the stage takes in all, in epochs: the last step is made one step before that.
        steps: int, how many steps the stage makes in all.

    Example:
        from framework import hookimpl

        def polynomial(epoch: float, epochs: float, power: float = 2.0) -> float:
            \"\"\"Down to 0, the faster the more is left.\"\"\"
            return (1 - epoch / epochs) ** power

        @hookimpl
        def register_schedules():
            return {"polynomial": polynomial}
    """


@hookspec
def register_metrics() -> Mapping[str, Callable[..., Metric]]:  # type: ignore[empty-body]
    """Metrics: callables that return what measures a whole pass, a ``torchmetrics.Metric`` or the like of one.

    Its ``update(outputs, targets)`` takes batch after batch: logits (N, classes, …) and classes (N, …), probabilities
    and 0 or 1 (N, labels), or quantities (N, quantities) of both. ``compute()`` gives one number, and
    ``higher_is_better`` says whether more of it is better. A new one is made for each pass.

    Classes of torchmetrics register as they are; but they take seconds to import, so that a function which imports
    them when it is called is kinder to those who do not use it.

    Called with:
        task: str, ``multiclass``, ``multilabel`` or ``regression``.
        num_classes: int, how many outputs a classification has; other tasks do not give it.
        num_labels: int, how many labels there are; other tasks do not give it.

    Example:
        from framework import hookimpl

        class WorstClass:
            \"\"\"The accuracy of the class that is recognised worst.\"\"\"

            higher_is_better = True

            def __init__(self, num_classes: int) -> None:
                self.right, self.all = [0] * num_classes, [0] * num_classes

            def update(self, outputs, targets):
                for found, true in zip(outputs.argmax(1).flatten().tolist(), targets.flatten().tolist()):
                    self.right[true] += found == true
                    self.all[true] += 1

            def compute(self):
                return min(right / all for right, all in zip(self.right, self.all) if all)

        @hookimpl
        def register_metrics():
            return {"worst_class": WorstClass}
    """


@hookspec
def register_transforms() -> Mapping[str, Callable[..., nn.Module] | str]:  # type: ignore[empty-body]
    """Transforms: what is done to an image when it is read, as by the transforms of torchvision. Modules.

    They take and give one image, uint8 (channels, height, width), and draw random numbers from torch's global
    generator, from Python's or from NumPy's: these are seeded for each batch. They are made in the trial's process, and
    sent to the workers that read images: make them picklable. A dataset takes them as parameters that are annotated
    with `framework.Transform`.

    Example:
        import torch
        from framework import hookimpl
        from torch import Tensor, nn

        class Darken(nn.Module):
            \"\"\"Multiply an image by a random factor.\"\"\"

            def __init__(self, least: float = 0.5) -> None:
                super().__init__()
                self.least = least

            def forward(self, image: Tensor) -> Tensor:
                factor = self.least + (1 - self.least) * torch.rand(())
                return (image * factor).to(image.dtype)

        @hookimpl
        def register_transforms():
            return {"darken": Darken}
    """
