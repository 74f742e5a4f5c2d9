"""A dataset that is no images in memory gives batches of its own, and goes through a trial like any other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_observers import registry_of
from test_trial import Reports
from torch import Tensor, nn

from framework import Batches, Classification, PluginError, hookimpl
from framework._plan import as_it_stands, make_plans
from framework._spec import load
from framework._store import Store
from framework._trial import prepare, run_trial
from framework.testing import check_dataset

SPEC = """
model: linear
data: {name: points, count: 60, validation: 0.2}
stages:
  - train: {epochs: 6, batch_size: 10, optimizer: {name: sgd, lr: 0.5}}
  - prune: {amount: 0.25, criterion: {name: snip, images: 10}}
  - train: {epochs: 2, batch_size: 10, sparsifier: {name: rigl, every: 2}}
"""


class Shuffled:
    """Points in the order of a pass."""

    def __init__(self, points: Tensor, labels: Tensor, size: int, seed: int | None) -> None:
        self.points, self.labels, self.size, self.seed = points, labels, size, seed

    def __len__(self) -> int:
        return -(-len(self.points) // self.size)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(len(self.points))
        if self.seed is not None:
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(self.seed % 2**32 + number))
        for chosen in order.split(self.size):
            yield self.points[chosen], self.labels[chosen]


class Points:
    """Points of the plane, above or below a line: a source, and the data as well."""

    shape, dtype, notes = (2,), torch.float32, {}
    task = Classification(("below", "above"))
    splits = ("train", "validation", "test")

    def __init__(self, count: int, validation: float) -> None:
        self.count, self.held_out = count, round(validation * count)

    def open(self, device: torch.device, augment: tuple[str, ...]) -> "Points":
        return self

    def batches(self, split: str, size: int, *, seed: int | None = None, channels_last: bool = False) -> Batches:
        points = torch.randn(2 * self.count, 2, generator=torch.Generator().manual_seed(0))
        first, last = self.held_out, self.count
        chosen = {"validation": slice(0, first), "train": slice(first, last), "test": slice(last, None)}[split]
        labels = (points[:, 0] > points[:, 1]).long()
        return Shuffled(points[chosen], labels[chosen], size, seed)


def points(count: int, validation: float) -> Points:
    """Points above and below a line."""
    return Points(count, validation)


class Plugin:
    @hookimpl
    def register_datasets(self) -> Any:
        return {"points": points, "nothing": lambda: 3}

    @hookimpl
    def register_models(self) -> Any:
        return {"linear": lambda shape, classes: nn.Linear(*shape, classes)}


def planned(folder: Path, text: str = SPEC) -> Any:
    registry = registry_of(Plugin())
    (folder / "spec.yaml").write_text(text)
    return make_plans(load(folder / "spec.yaml", registry), as_it_stands)[0], registry


def test_it_goes_through_a_trial(tmp_path: Path) -> None:
    plan, registry = planned(tmp_path)
    trial = run_trial(plan, registry, prepare(plan.data, registry), Store(tmp_path / "store"), Reports())
    assert trial.records[-1].metrics["test/accuracy"] > 0.8
    assert int((trial.weights()["weight"] == 0).sum()) == 1
    assert len(trial.batches("validation", 5)) == 3  # a fifth of 60 is 12


def test_it_keeps_to_what_a_dataset_promises() -> None:
    check_dataset(points, count=60)


def test_a_source_that_lacks_something_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Points, "dtype")
    plan, registry = planned(tmp_path)
    with pytest.raises(PluginError, match=r"or a framework\.Source, and a Points has no dtype"):
        prepare(plan.data, registry)
    with pytest.raises(AssertionError, match=r"gives a Points, which has no dtype: see framework\.Source"):
        check_dataset(points, count=60)


def test_what_is_neither_dataset_nor_source_is_refused(tmp_path: Path) -> None:
    plan, registry = planned(tmp_path, SPEC.replace("name: points, count: 60", "name: nothing"))
    with pytest.raises(PluginError, match=r"dataset 'nothing' must give a framework\.Dataset or a framework\.Source"):
        prepare(plan.data, registry)
