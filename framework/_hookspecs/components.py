"""Hooks that register components."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn, optim

from framework._dataset import Dataset
from framework._hookspecs.marks import hookspec
from framework._stage import Stage


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
    1 over the training set. It gives outputs (N, classes). It is made on the CPU, with torch already seeded.

    Called with:
        shape: (channels, height, width) of one image, three ints.
        classes: int, how many outputs.

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
def register_datasets() -> Mapping[str, Callable[..., Dataset]]:  # type: ignore[empty-body]
    """Datasets: callables that return a `framework.Dataset`, the same one each time.

    Images are uint8 (N, channels, height, width), labels int64 (N,), both NumPy arrays. The validation set is held out
    of the training set by the framework.

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

    Outputs are what the model gives, float (N, classes), and labels int64 (N,). The result is a mean over the batch. A
    loss may have state, in buffers; it may change only where ``self.training`` is True.

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

    Called with:
        params: the parameters to train, a list of tensors.

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

    They are called before every step.

    Called with:
        epoch: float, the time since the stage began, in epochs; 0 before the first step.
        epochs: float, how long the stage takes in all, in epochs.

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
def register_criteria() -> Mapping[str, Callable[..., Tensor]]:  # type: ignore[empty-body]
    """Pruning criteria: functions of a layer's weight that return a score per element; the lowest are pruned.

    The scores have the weight's shape and no NaN. A criterion asks for those of the arguments that it needs.

    Called with:
        weight: of one layer, float of any shape, on the trial's device. Not to be changed.
        gradient: of the loss by this weight, of the same shape, a mean over some training batches. It is computed only
            where a criterion asks for it.
        generator: for random numbers, on the CPU, with the stage's seed.

    Example:
        from framework import hookimpl
        from torch import Tensor

        def taylor(weight: Tensor, gradient: Tensor) -> Tensor:
            \"\"\"The squared change of the loss, to first order, without the weight (Molchanov et al. 2019).\"\"\"
            return (weight * gradient).square()

        @hookimpl
        def register_criteria():
            return {"taylor": taylor}
    """
