"""Networks that keep the contract (images in, logits out) and little else: what they learn is kept, and they train."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_trial import BUILT_IN, Reports, Toys, comparable
from torch import Tensor, nn

import framework_plugins.histograms
from framework import StageError, hookimpl
from framework._plan import TrialPlan, as_it_stands, make_plans
from framework._registry import Registry
from framework._spec import load
from framework._store import Store
from framework._trial import prepare, run_trial
from framework.testing import check_model

SPEC = """
model: NETWORK
data: {name: toy, validation: 0.25}
defaults: {train: {epochs: 2, batch_size: 8, optimizer: {name: sgd, lr: 0.05}}}
stages: [train, train: {epochs: 1}]
"""


class Small(nn.Module):
    """A convolution and a linear layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))


class Counting(Small):
    """Counts its training steps in a buffer that is in no state dict, and gives larger outputs the more there were."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("steps", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.steps += self.training
        return super().forward(x) * (1 + self.steps / 10)


class CountingOutside(Small):
    """The same in an attribute, which cannot be kept."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        self.steps += int(self.training)
        return super().forward(x) * (1 + self.steps / 10)


class CountingAlways(Small):
    """Counts every forward pass, also those that only look."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(x) * (1 + self.passes / 100)


class Late(Small):
    """Has a buffer only once it has seen images."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "first"):
            self.register_buffer("first", x.detach().mean(), persistent=False)
        return super().forward(x) + self.first


class WithUnused(Small):
    """Has a layer that it does not use."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.unused = nn.Linear(4, 4)


class Noisy(Small):
    """Draws random numbers, also where it is evaluated."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.01 * torch.randn_like(x))


class Lazy(nn.Sequential):
    """Finds out its sizes when it sees images."""

    def __init__(self, classes: int) -> None:
        super().__init__(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes))


class WithoutStatistics(nn.Sequential):
    """Normalises by the batch, of which it needs more than one image."""

    def __init__(self, classes: int) -> None:
        super().__init__(
            nn.Conv2d(1, 4, 8), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(4, classes)
        )


class Complex(nn.Module):
    """Has a complex first layer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(64, 5, dtype=torch.complex64)
        self.last = nn.Linear(10, classes)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x.flatten(1).to(torch.complex64))
        return self.last(torch.view_as_real(hidden).flatten(1).relu())


class NothingToPrune(nn.Module):
    """Has no layer with weights."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(classes))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))[:, None] * self.scale


class ManyImages(Small):
    """Cannot do with less than three images at once."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) < 3:
            raise ValueError("too few")
        return super().forward(x)


class LazyToTheEnd(nn.Sequential):
    """Cannot find out its sizes, as it cannot take such images."""

    def __init__(self, classes: int) -> None:
        super().__init__(nn.LazyConv2d(4, 3), nn.Conv2d(5, 4, 3), nn.Flatten(), nn.LazyLinear(classes))


class Unfit(Small):
    """Fails in a layer inside."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.conv = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(5, 4, 3))


class Extra(Small):
    """Keeps extra state that is no tensor."""

    def get_extra_state(self) -> Any:
        return {"a": 1}

    def set_extra_state(self, state: Any) -> None: ...


class Nothing(nn.Module):
    """Learns nothing."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))[:, None].expand(-1, self.classes)


NETWORKS = {
    network.__name__.lower(): network
    for network in (
        Small, Counting, CountingOutside, CountingAlways, Late, Noisy, Lazy, WithoutStatistics, Complex,
        NothingToPrune, ManyImages, LazyToTheEnd, Unfit, Extra, Nothing, WithUnused,
    )
}  # fmt: skip


class Plugin:
    @hookimpl
    def register_models(self) -> Any:
        def factory(network: Callable[[int], nn.Module]) -> Any:
            return lambda shape, classes: network(classes)

        return {name: factory(network) for name, network in NETWORKS.items()}


CATALOG = Registry([*BUILT_IN, (framework_plugins.histograms, "framework 0"), (Toys(), "test 1"), (Plugin(), "test 2")])


def plan_of(network: type[nn.Module], folder: Path, text: str = SPEC) -> TrialPlan:
    path = folder / "spec.yaml"
    path.write_text(text.replace("NETWORK", network.__name__.lower()))
    return make_plans(load(path, CATALOG), as_it_stands)[0]


def run(plan: TrialPlan, folder: Path) -> tuple[Any, Reports]:
    reports = Reports()
    return run_trial(plan, CATALOG, prepare(plan.data, CATALOG), Store(folder), reports), reports


def tensors(trial: Any) -> dict[str, Tensor]:
    return {**trial.model.state_dict(), **dict(trial.model.named_buffers())}


def restored_and_at_once(network: type[nn.Module], folder: Path) -> tuple[Reports, Reports]:
    """What a trial reports that runs at once, and what one does that goes on from another's first stage."""
    plan = plan_of(network, folder)
    at_once, whole = run(plan, folder / "whole")
    run(plan_of(network, folder, SPEC.replace(", train: {epochs: 1}", "")), folder / "shared")
    restored, again = run(plan, folder / "shared")
    assert [end.executed for end in again.ends] == [False, True]
    one, other = tensors(at_once), tensors(restored)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert comparable(whole.records) == comparable(again.records)
    return whole, again


@pytest.mark.parametrize(
    "network",
    [Counting, CountingOutside, CountingAlways, Late, Noisy, Lazy, WithoutStatistics, Complex, NothingToPrune],
)
def test_a_trial_ends_the_same_at_once_and_from_the_store(network: type[nn.Module], tmp_path: Path) -> None:
    whole, _ = restored_and_at_once(network, tmp_path)
    records = whole.records
    assert [record.epoch for record in records] == [1, 2, 3, 3]
    assert records[-2].metrics["train/loss"] < records[0].metrics["train/loss"]
    assert all(("sparsity" in record.metrics) == (network is not NothingToPrune) for record in records)


def test_what_is_lost_after_a_stage_is_told_once(tmp_path: Path) -> None:
    _, reports = run(plan_of(CountingOutside, tmp_path), tmp_path)
    [note] = reports.notes
    assert note == (
        "in train the network has changed in what is not kept, and begins the next stage without it: steps was 0, and "
        "is 8 now: parameters and buffers are kept"
    )
    _, reports = run(plan_of(Counting, tmp_path), tmp_path)
    assert reports.notes == []


def test_a_buffer_that_is_not_persistent_goes_on_counting(tmp_path: Path) -> None:
    trial, _ = run(plan_of(Counting, tmp_path), tmp_path)
    assert trial.model.steps == 3 * 4  # four batches of the 30 images a pass


@pytest.mark.parametrize("network", [Complex, Lazy, WithoutStatistics])
def test_such_networks_are_pruned(network: type[nn.Module], tmp_path: Path) -> None:
    text = SPEC.replace("[train, train: {epochs: 1}]", "[train, prune: {amount: 0.5}, train: {epochs: 1}]")
    trial, reports = run(plan_of(network, tmp_path, text), tmp_path)
    assert reports.notes == []
    weights = trial.weights().values()
    zeros, total = (sum(count) for count in zip(*((int((w == 0).sum()), w.numel()) for w in weights), strict=True))
    assert zeros == round(total / 2)
    assert reports.records[-1].metrics["sparsity"] == zeros / total


def test_layers_without_weights_are_named_where_they_lose_them_unless_the_network_does_not_use_them(
    tmp_path: Path,
) -> None:
    text = SPEC.replace(
        "[train, train: {epochs: 1}]",
        "[prune: {amount: 1, layers: [conv, unused]}, train, unprune: {layers: [conv]}, prune: {amount: 1}]",
    )
    plan = plan_of(WithUnused, tmp_path, text)
    _, reports = run(plan, tmp_path)
    empty = [{k: v for k, v in record.metrics.items() if k.startswith("empty")} for record in reports.records]
    conv, none = {"empty_layers": 1.0, "empty_layers/conv": 1.0}, {"empty_layers": 0.0, "empty_layers/conv": 0.0}
    both = {"empty_layers": 2.0, "empty_layers/conv": 1.0, "empty_layers/fc": 1.0}
    assert empty == [conv, conv, conv, none, both, both]
    assert all(record.metrics["sparsity/unused"] == 1 for record in reports.records)
    assert reports.notes == [
        f"{plan.experiment} seed=0: after prune, all weights are pruned of conv",
        f"{plan.experiment} seed=0: after prune, all weights are pruned of conv, fc",
    ]


def test_there_is_nothing_to_prune_in_a_network_without_layers(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no convolutional, linear, recurrent or attention layer"):
        run(plan_of(NothingToPrune, tmp_path, SPEC.replace("train: {epochs: 1}", "prune: {amount: 0.5}")), tmp_path)


def test_a_network_that_cannot_be_looked_at_trains_all_the_same(tmp_path: Path) -> None:
    trial, reports = run(plan_of(ManyImages, tmp_path), tmp_path)
    [note] = reports.notes
    assert "could not be tried on two empty inputs of shape (1, 8, 8): ValueError: too few" in note
    assert list(trial.weights()) == ["conv.weight", "fc.weight"]


@pytest.mark.parametrize(
    ("network", "text"),
    [
        (
            LazyToTheEnd,
            "model 'lazytotheend' has lazy modules, and they cannot be given a size: a forward pass of 2 inputs of "
            "shape (1, 8, 8) fails in '1' (Conv2d): RuntimeError: ",
        ),
        (Extra, "model 'extra' keeps a dict as _extra_state, which cannot be stored: let its get_extra_state give a"),
        (Nothing, "model 'nothing' has no parameter: there is nothing to train"),
    ],
)
def test_a_network_that_cannot_be_trained_says_why(network: type[nn.Module], text: str, tmp_path: Path) -> None:
    with pytest.raises(StageError) as error:
        run(plan_of(network, tmp_path), tmp_path)
    assert str(error.value).startswith(text)


def test_an_error_inside_of_a_network_names_the_module(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as error:
        run(plan_of(Unfit, tmp_path), tmp_path)
    assert error.value.__notes__ == ["in 'conv.1' (Conv2d) of the network", "in stage 1, train of framework 0"]


@pytest.mark.parametrize("network", [Small, Counting, Lazy, WithoutStatistics, NothingToPrune])
def test_such_networks_are_models_as_plugins_have_them(network: type[nn.Module]) -> None:
    def factory(shape: tuple[int, int, int], classes: int) -> nn.Module:
        """A network."""
        return network(classes)

    check_model(factory, shapes=[(1, 8, 8)])
