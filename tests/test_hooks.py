"""What each registration hook registers is used in a trial. The hooks that observe trials are in test_observers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from test_observers import registry_of, run
from torch import Tensor, nn

import framework_plugins.datasets as datasets
from framework import Dataset, Masks, Sparsifier, Stage, Step, Trial, hookimpl

SPEC = """
model: {name: convnet, widths: [4]}
data: {name: toy, validation: 0.25}
stages:
  - train: {epochs: 1, batch_size: 8}
  - prune: {amount: 0.5}
"""


def plugin(hook: str, components: Mapping[str, Callable[..., Any]]) -> object:
    """A plugin that implements the hook."""
    return type("Plugin", (), {hook: hookimpl(lambda self: components)})()


def trial_with(hook: str, component: Callable[..., Any], folder: Path, old: str, new: str) -> Trial:
    """Run the spec, changed in one place, with a component called ``mine``."""
    assert old in SPEC
    return run(registry_of(plugin(hook, {"mine": component})), folder, SPEC.replace(old, new))[0]


def test_register_stages(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Fill(Stage):
        value: float

        def run(self, trial: Trial) -> None:
            for weight in trial.weights().values():
                weight.data.fill_(self.value)

    trial = trial_with("register_stages", Fill, tmp_path, "- prune: {amount: 0.5}", "- mine: {value: 0.25}")
    assert all((weight == 0.25).all() for weight in trial.weights().values())


def test_register_models(tmp_path: Path) -> None:
    def linear(shape: Any, classes: int, bias: bool = True) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), classes, bias))

    trial = trial_with("register_models", linear, tmp_path, "{name: convnet, widths: [4]}", "{name: mine, bias: false}")
    assert [*trial.weights()] == ["1.weight"]
    assert trial.model.get_submodule("1").bias is None


def test_register_datasets(tmp_path: Path) -> None:
    def flat(size: int) -> Dataset:
        images, labels = np.zeros((24, 1, size, size), np.uint8), np.arange(24) % 2
        return Dataset(images, labels, images, labels, ("even", "odd"))

    trial = trial_with("register_datasets", flat, tmp_path, "name: toy", "name: mine, size: 6")
    assert trial.data.shape == (1, 6, 6)
    assert trial.task.outputs == ("even", "odd")


def test_register_losses(tmp_path: Path) -> None:
    class Constant(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
            return outputs.mean() * 0 + self.value

    loss = "batch_size: 8, loss: {name: mine, value: 2.5}"
    trial = trial_with("register_losses", Constant, tmp_path, "batch_size: 8", loss)
    assert trial.records[0].metrics["train/loss"] == trial.records[0].metrics["val/loss"] == 2.5


def test_register_metrics(tmp_path: Path) -> None:
    class Right:
        higher_is_better = True

        def __init__(self, num_classes: int, scale: float = 1.0) -> None:
            assert num_classes == 3
            self.count, self.scale = 0, scale

        def update(self, outputs: Tensor, targets: Tensor) -> None:
            self.count += int((outputs.argmax(1) == targets).sum())

        def compute(self) -> float:
            return self.scale * self.count

    data = "data: {name: toy, validation: 0.25}"
    metrics = "metrics: [{name: mine, scale: 2, as: twice}, mine]"
    trial = trial_with("register_metrics", Right, tmp_path, data, f"{data}\n{metrics}")
    assert trial.measures.primary == "twice"
    for record in trial.records:
        assert "val/accuracy" not in record.metrics
        assert (
            record.metrics.get("val/twice") == 2 * record.metrics.get("val/mine", 0) or "test/twice" in record.metrics
        )


def test_register_optimizers(tmp_path: Path) -> None:
    class Still(torch.optim.SGD):
        def step(self, closure: Any) -> Any:  # type: ignore[override]
            return closure()

    optimizer = "batch_size: 8, optimizer: {name: mine, lr: 0.125}"
    trial = trial_with("register_optimizers", Still, tmp_path, "batch_size: 8", optimizer)
    first = trial.initial_state()
    kept = {name: weight for name, weight in trial.weights().items() if name in first}
    assert all(torch.equal(weight[weight != 0], first[name][weight != 0]) for name, weight in kept.items())
    assert trial.records[0].metrics["lr"] == 0.125


def test_register_schedules(tmp_path: Path) -> None:
    asked = []

    def noted(epoch: float, epochs: float, factor: float = 1.0) -> float:
        asked.append((epoch, epochs))
        return factor

    schedule = "batch_size: 8, optimizer: {name: sgd, lr: 0.5}, schedule: {name: mine, factor: 0.25}"
    trial = trial_with("register_schedules", noted, tmp_path, "batch_size: 8", schedule)
    assert trial.records[0].metrics["lr"] == 0.125
    assert asked[0] == (0, 1)
    assert all(0 <= epoch < 1 for epoch, _ in asked)


def test_register_criteria(tmp_path: Path) -> None:
    def last(weight: Tensor, gradient: Tensor) -> Tensor:
        assert gradient.shape == weight.shape
        return -torch.arange(weight.numel(), dtype=torch.float32).view(weight.shape)

    pruned = "prune: {amount: 0.5, distribution: layer, criterion: mine}"
    trial = trial_with("register_criteria", last, tmp_path, "prune: {amount: 0.5}", pruned)
    for mask in trial.masks.values():
        half = mask.numel() // 2
        assert mask.flatten()[:half].all()
        assert not mask.flatten()[half:].any()


def test_register_distributions(tmp_path: Path) -> None:
    def first(candidates: Mapping[str, int], count: int) -> dict[str, int]:
        gone = {}
        for name, number in candidates.items():
            gone[name] = min(number, count - sum(gone.values()))
        return gone

    pruned = "prune: {amount: 0.5, distribution: mine}"
    trial = trial_with("register_distributions", first, tmp_path, "prune: {amount: 0.5}", pruned)
    zeros = [int((weight == 0).sum()) for weight in trial.weights().values()]
    left = round(0.5 * sum(weight.numel() for weight in trial.weights().values()))
    for weight, found in zip(trial.weights().values(), zeros, strict=True):
        assert found == min(weight.numel(), left)
        left -= found


class Flat(nn.Module):
    """An image of one value."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value

    def forward(self, image: Tensor) -> Tensor:
        return torch.full_like(image, self.value)


def test_register_transforms(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 4), dtype=np.uint8)
    for split in ("train", "test"):
        np.save(tmp_path / f"x_{split}.npy", images)
        np.save(tmp_path / f"y_{split}.npy", np.arange(8) % 2)
    loader = "{transforms: [{name: mine, value: 255}], workers: 0}"
    text = SPEC.replace("{name: toy, validation: 0.25}", f"{{name: npy, root: {tmp_path}, loader: {loader}}}")
    registry = registry_of(plugin("register_transforms", {"mine": Flat}), datasets)
    trial = run(registry, tmp_path, text.replace("root:", "validation: 0, root:"))[0]
    [(inputs, _)] = trial.batches("train", 8).epoch(0)
    expected = (1 - images.mean() / 255) / (images.std() / 255)
    assert torch.allclose(inputs, torch.full((8, 1, 4, 4), float(expected)), atol=1e-4)


def test_register_sparsifiers(tmp_path: Path) -> None:
    asked = []

    @dataclass
    class Once(Sparsifier):
        at: int

        def update(self, step: Step) -> Masks | None:
            asked.append((step.number, step.steps))
            if step.number != self.at:
                return None
            assert all(bool(gradient.any()) for gradient in step.gradients.values())
            return {name: torch.zeros_like(mask) for name, mask in step.masks.items()}

    sparse = "batch_size: 8, sparsifier: {name: mine, at: 1}"
    trial = trial_with("register_sparsifiers", Once, tmp_path, "batch_size: 8", sparse)
    assert asked == [(number, len(asked)) for number in range(len(asked))]
    assert not any(bool(weight.any()) for weight in trial.weights().values())
