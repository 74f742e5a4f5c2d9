"""A tiny network, dataset and trial to try a component on."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from framework._component import Entry, build
from framework._data import Arrays
from framework._dataset import Dataset
from framework._registry import Registry, installed
from framework._stage import Record, Stage, Trial
from framework._trial import make_model, prepare


class TestRegistry(Registry):
    """A registry of some components that need not be installed, and behind them of all that are.

    Args:
        entries: these components.
        observers: plugins that observe the trials.
    """

    strict = True  # what fails under test is to be seen

    def __init__(self, *entries: Entry, observers: Sequence[object] = ()) -> None:
        super().__init__((plugin, "the plugin under test") for plugin in observers)
        self._own = {(entry.kind, entry.name): entry for entry in entries}

    def entry(self, kind: str, name: str) -> Entry | None:
        return self._own.get((kind, name)) or installed().entry(kind, name)

    def names(self, kind: str) -> Sequence[str]:
        return sorted({name for own, name in self._own if own == kind} | {*installed().names(kind)})

    @property
    def broken(self) -> Sequence[str]:
        return [*super().broken, *installed().broken]


def entry_of(kind: str, factory: Callable[..., Any]) -> Entry:
    """Register a component as its plugin would, under its own name."""
    name = getattr(factory, "__name__", type(factory).__name__)
    return Entry(kind, name, factory, getattr(factory, "__module__", "the test"))


def tiny_data(
    shape: tuple[int, int, int] = (1, 8, 8), *, classes: int = 3, train: int = 48, test: int = 24, seed: int = 0
) -> Dataset:
    """Make noise of a different brightness for each class, which a small network learns to tell apart in a few epochs.

    Args:
        shape: (channels, height, width) of one image.
        classes: how many, at least 2; images are spread evenly over them.
        train: how many images to train on; a fourth of them becomes `tiny_trial`'s validation set.
        test: how many images to test on.
        seed: of the noise.

    Example:
        >>> from framework.testing import tiny_data
        >>> tiny_data((3, 16, 16)).train_images.shape
        (48, 3, 16, 16)
    """
    rng = np.random.default_rng(seed)

    def split(count: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        labels = np.arange(count, dtype=np.int64) % classes
        brightness = labels.reshape(-1, 1, 1, 1) * (127 // (classes - 1))
        return (rng.integers(0, 128, (count, *shape)) + brightness).astype(np.uint8), labels

    return Dataset(*split(train), *split(test), classes=tuple(f"class {label}" for label in range(classes)))


def tiny_trial(
    seed: int = 0, *, model: nn.Module | None = None, data: Dataset | Arrays | None = None, prepared: bool = False
) -> Trial:
    """Make a trial on the CPU, as a stage finds it.

    Args:
        seed: of the network's initial weights, and the trial's own.
        model: another network than the small one, which has two convolutions with batch normalisation, dropout and a
            linear layer; it is used as it is.
        data: other data than `tiny_data`; of images, unless there is another network.
        prepared: prune the smaller third of each layer's weights, and freeze all that comes before the second layer
            with weights, and the first half of that layer's.

    Example:
        >>> from framework.testing import tiny_trial
        >>> trial = tiny_trial(prepared=True)
        >>> list(trial.weights())
        ['conv1.weight', 'conv2.weight', 'fc.weight']
        >>> int((trial.model.fc.weight == 0).sum())
        32
    """
    dataset = tiny_data() if data is None else data
    entry = Entry("dataset", "tiny", lambda: dataset, "framework.testing")
    source = prepare({"dataset": {"name": "tiny"}, "validation": 0.25}, TestRegistry(entry))
    if model is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = _network(dataset.shape[0], len(source.task.outputs))
    initial = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    device, fresh = torch.device("cpu"), deepcopy(model)
    trial = Trial(
        model=model,
        data=source.open(device, ()),
        device=device,
        task=source.task,
        loss=source.task.loss(),
        seed=seed,
        initial_state=lambda seed=None: initial.copy() if seed is None else _drawn_anew(fresh, seed),
        make_model=lambda model: make_model(model, source, seed),
    )
    trial.emit = lambda epoch, metrics: trial.records.append(Record(epoch, 0, metrics, time.time()))
    if prepared:
        _prepare(trial)
    return trial


def run_stage(stage: Stage | type[Stage] | str, trial: Trial | None = None, /, **parameters: Any) -> Trial:
    """Run a stage on a tiny trial, so that a test can look at what it leaves.

    Args:
        stage: a stage that is made already, its class, or the name of an installed one.
        trial: what it runs on, and changes; by default a new `tiny_trial`.
        parameters: as YAML gives them: another component is a name, or a mapping with its name.

    Returns:
        The trial.

    Raises:
        ValueError: a parameter is wrong; the text says which.
        StageError: the stage cannot do what was asked of it.

    Example:
        >>> from framework.testing import run_stage
        >>> trial = run_stage("prune", amount=0.5, criterion="magnitude")
        >>> trial = run_stage("train", trial, epochs=2, optimizer={"name": "adamw", "lr": 0.01})
        >>> trial.epoch
        2
    """
    trial = tiny_trial() if trial is None else trial
    if isinstance(stage, Stage):
        made = stage
        if parameters:
            raise TypeError("a stage that is made already takes no parameters: give its class")
    else:
        entry = installed().get("stage", stage) if isinstance(stage, str) else entry_of("stage", stage)
        made = build(TestRegistry(entry), "stage", {"name": entry.name, **parameters})()
    trial.model.train()
    trial.model.zero_grad(set_to_none=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(trial.seed)
        made.run(trial)
    return trial


def _network(channels: int, classes: int) -> nn.Module:
    """Weights: conv1 36 per channel, conv2 288, fc 32 per class."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 4, 3, padding=1, bias=False),
            norm1=nn.BatchNorm2d(4),
            relu1=nn.ReLU(),
            halve=nn.MaxPool2d(2, ceil_mode=True),
            conv2=nn.Conv2d(4, 8, 3, padding=1),
            norm2=nn.BatchNorm2d(8),
            relu2=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(2),
            flatten=nn.Flatten(),
            dropout=nn.Dropout(0.2),
            fc=nn.Linear(32, classes),
        )
    )


def _drawn_anew(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """The state dict of a network whose layers have initialised themselves once more."""
    model = deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if reset := getattr(module, "reset_parameters", None):
                reset()
    return model.state_dict()


def _prepare(trial: Trial) -> None:
    weights = trial.weights()
    for name, weight in weights.items():
        value = weight.detach()
        size = value.abs()
        mask = size > size.flatten().kthvalue(max(1, size.numel() // 3)).values
        trial.before_pruning[name] = torch.where(mask, 0.0, value)
        trial.masks[name] = mask
        value.masked_fill_(~mask, 0.0)
    names = list(weights)
    second = names[min(1, len(names) - 1)]
    tensors: dict[str, Tensor] = {**dict(trial.model.named_parameters()), **dict(trial.model.named_buffers())}
    for name in trial.forward_order[: trial.forward_order.index(second)]:
        trial.frozen[name] = torch.ones(tensors[name].shape, dtype=torch.bool)
    weight = weights[second]
    trial.frozen[second] = (torch.arange(weight.numel()) < weight.numel() // 2).view(weight.shape)
