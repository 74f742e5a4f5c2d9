"""Small data, networks and trials that many tests share."""

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import fork_server
import pytest
import torch
from running import cluster, environment, gate, study  # noqa: F401 - fixtures
from served import nothing_set, pass_by, postgres, served, server_client, tracking  # noqa: F401 - fixtures
from torch import nn
from xdist.scheduler import LoadFileScheduling

from framework import Classification, ImageData, Split, Stage, Trial
from framework._component import build
from framework._registry import Registry, installed

os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and it would break lines
# Threads of several processes wait for each other by counting to a million: with two each, steps took thirty times as
# long.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
collect_ignore = ["packages"]  # they are tested where they are installed, see test_packages.py

# Files that use one of these session fixtures, which take long, run in one process, the longest first.
_TOGETHER = {"tracking": r"^from served import", "study": r"\bstudy: Study\b"}


@cache
def _group(file: Path) -> str:
    """The fixture that a file shares with others, or the file."""
    text = file.read_text()
    shared = (name for name, use in _TOGETHER.items() if re.search(use, text, re.MULTILINE))
    return next(shared, str(file))


class _Scheduler(LoadFileScheduling):
    """Gives a process all tests of a file, and all files of a group."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(self.config.rootpath / super()._split_scope(nodeid))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # one for all of pytest-xdist's processes
        stack = ExitStack()
        stack.enter_context(fork_server.served(environment()))
        config.add_cleanup(stack.close)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduler:
    return _Scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = [*_TOGETHER]
    items.sort(key=lambda item: order.index(group) if (group := _group(item.path)) in order else len(order))


class Net(nn.Module):
    """Two convolutions and a linear layer, registered in another order than that of the forward pass.

    Weights in forward order: conv1 36, conv2 96, fc 72; in all 204.
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc = nn.Linear(24, 3)
        self.conv2 = nn.Conv2d(4, 6, 2, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(nn.functional.max_pool2d(x, 2))).relu()
        return self.fc(self.dropout(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)))


def images_of(count: int, shape: tuple[int, int, int], classes: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    noise = torch.randint(0, 128, (count, *shape), generator=generator)
    return Split((noise + 40 * labels.view(-1, 1, 1, 1)).to(torch.uint8), labels)


@pytest.fixture(scope="session")
def registry() -> Registry:
    """All installed plugins."""
    return installed()


@pytest.fixture(scope="session")
def make_data() -> Callable[..., ImageData]:
    """Learnable noise; three classes that differ in brightness."""

    def make(count: int = 24, shape: tuple[int, int, int] = (1, 8, 8), classes: int = 3, **fields: Any) -> ImageData:
        data = ImageData(
            train=images_of(count, shape, classes, 0),
            validation=images_of(9, shape, classes, 1),
            test=images_of(12, shape, classes, 2),
            mean=torch.full((shape[0],), 0.4),
            std=torch.full((shape[0],), 0.2),
        )
        return replace(data, **fields)

    return make


@pytest.fixture(scope="session")
def make_net() -> Callable[..., nn.Module]:
    """A small network with fixed initial weights."""

    def make(dropout: float = 0.0, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        return Net(dropout)

    return make


@pytest.fixture(scope="session")
def make_trial(make_data: Callable[..., ImageData], make_net: Callable[..., nn.Module]) -> Callable[..., Trial]:
    """A trial of the small network, or of another, on the CPU."""

    def make(model: nn.Module | None = None, data: ImageData | None = None, **fields: Any) -> Trial:
        return Trial(
            model=make_net() if model is None else model,
            data=make_data() if data is None else data,
            device=torch.device("cpu"),
            **{"task": Classification(tuple("abc")), **fields},
        )

    return make


@pytest.fixture(scope="session")
def stage(registry: Registry) -> Callable[..., Stage]:
    """Build a stage as a spec does."""

    def make(name: str, **parameters: Any) -> Stage:
        return build(registry, "stage", {"name": name, **parameters})()

    return make
