"""`framework.LoaderBatches`: the same batches with any number of workers, and errors that name the item."""

import gc
import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from framework import DataError, LoaderBatches

CPU = torch.device("cpu")


class Noisy:
    """Ten items, each with a random number of every kind; or fewer."""

    def __init__(self, count: int = 10) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        drawn = [float(torch.rand(())), float(np.random.rand()), random.random()]
        return torch.tensor([index, *drawn], dtype=torch.float64), index


class Faulty(Noisy):
    """Whose item 7 does something else."""

    def __init__(self, act: Callable[[], Any]) -> None:
        super().__init__()
        self.act = act

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        found = self.act() if index == 7 else None
        return super().__getitem__(index) if found is None else (found, index)


def double(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return torch.cat([2 * inputs, torch.rand(len(inputs), 1, dtype=torch.float64)], 1), targets


def passes(*numbers: int, seed: int | None = 3, workers: int = 0, size: int = 4) -> list[list[tuple[Tensor, Tensor]]]:
    batches = LoaderBatches(Noisy(), batch_size=size, device=CPU, seed=seed, workers=workers, finish=double)
    return [list(batches.epoch(number)) for number in numbers]


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    return len(one) == len(other) and all(map(equal, one, other))


def test_every_pass_has_each_item_once_in_an_order_of_its_own() -> None:
    orders = [torch.cat([targets for _, targets in batches]).tolist() for batches in passes(0, 1)]
    assert [sorted(order) for order in orders] == [[*range(10)]] * 2
    assert orders[0] != orders[1]
    assert len({batch[0][0, 1:].tolist().__repr__() for batches in passes(0, 1) for batch in batches}) == 6


@pytest.mark.parametrize("seed", [3, None])
def test_batches_are_equal_with_any_number_of_workers_and_when_asked_for_again(seed: int | None) -> None:
    first = passes(0, 1, seed=seed)
    assert equal(first, passes(0, 1, seed=seed, workers=1))
    assert equal(first, passes(0, 1, seed=seed, workers=2))
    assert equal(first[::-1], passes(1, 0, seed=seed, workers=2))
    assert equal(*first) == (seed is None)  # unshuffled, a pass is as every other


def test_without_a_seed_items_come_in_their_order() -> None:
    assert torch.cat([targets for _, targets in passes(5, seed=None)[0]]).tolist() == [*range(10)]


@pytest.mark.parametrize(("seed", "size", "expected"), [(0, 3, [3, 3, 3]), (None, 3, [3, 3, 3, 1]), (0, 4, [4, 4, 2])])
def test_a_single_item_that_is_left_over_is_not_trained_on(seed: int | None, size: int, expected: list[int]) -> None:
    batches = LoaderBatches(Noisy(), batch_size=size, device=CPU, seed=seed)
    assert [len(targets) for _, targets in batches.epoch(0)] == expected
    assert len(batches) == len(expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_global_generators_are_left_alone(workers: int) -> None:
    torch.manual_seed(1)
    expected = float(torch.rand(()))
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    passes(0, workers=workers)
    after = float(torch.rand(())), np.random.rand(), random.random()
    assert after == (expected, np.random.RandomState(1).rand(), random.Random(1).random())


def test_a_pass_may_be_left_or_run_beside_another() -> None:
    batches = LoaderBatches(Noisy(), batch_size=2, device=CPU, seed=0, workers=1)
    expected = [list(LoaderBatches(Noisy(), batch_size=2, device=CPU, seed=0).epoch(n)) for n in range(2)]
    assert equal(next(batches.epoch(0)), expected[0][0])  # and left
    assert equal(list(zip(*(batches.epoch(n) for n in range(2)), strict=True)), list(zip(*expected, strict=True)))


def test_workers_are_told_to_end_with_batches_that_are_left_in_a_cycle() -> None:
    class Holder:
        """Refers to itself, as a trial does."""

    holder, others = Holder(), {*multiprocessing.active_children()}
    batches = LoaderBatches(Noisy(), batch_size=2, device=CPU, workers=1)
    begun = batches.epoch(0)
    holder.all = holder, batches, begun
    next(begun)
    [worker] = {*multiprocessing.active_children()} - others
    del holder, batches, begun
    gc.collect()
    assert not worker.is_alive()
    assert worker.exitcode == 0  # torch waits for 5 s and then kills those that it cannot tell


@pytest.mark.parametrize("workers", [0, 1])
def test_an_item_that_cannot_be_read_is_named(workers: int) -> None:
    def fail() -> None:
        raise ZeroDivisionError("by zero")

    batches = LoaderBatches(Faulty(fail), batch_size=4, device=CPU, workers=workers, name="file {}.png".format)
    with pytest.raises(DataError, match=r"^file 7\.png cannot be read: ZeroDivisionError: by zero$") as caught:
        list(batches.epoch(0))
    assert "in fail" in str(caught.value.__cause__)  # where, in the worker


def test_items_of_two_shapes_are_named() -> None:
    batches = LoaderBatches(Faulty(lambda: torch.zeros(3)), batch_size=5, device=CPU)
    with pytest.raises(DataError, match=r"must have one shape, not \(4,\) of item 5 and \(3,\) of item 7$"):
        list(batches.epoch(0))


def test_a_worker_that_dies_is_told_with_the_item_that_it_was_at() -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    batches = LoaderBatches(Faulty(die), batch_size=4, device=CPU, workers=2)
    with pytest.raises(DataError, match=r"has died \(the workers were at item 7\): .*take fewer workers"):
        list(batches.epoch(0))
