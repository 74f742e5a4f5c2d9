"""How long a network takes, with its zeros and without."""

import copy
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

BATCHES = (1, 128)
_ROUNDS = 5  # the fewest
_SECONDS = 2.0  # of one setting; more where the fewest rounds take longer
_LEAST = 0.01  # seconds of a measurement


@dataclass(frozen=True)
class Latency:
    """Medians over several rounds, in which one network is measured after the other.

    Attributes:
        batch: how many images at once.
        threads: how many the CPU's operations may use.
        rounds: how many.
        dense: seconds of a forward pass without zeros.
        sparse: seconds of a forward pass with the zeros.
        compact: seconds of a forward pass of the network without the filters that are zeros; None without one.
    """

    batch: int
    threads: int
    rounds: int
    dense: float
    sparse: float
    compact: float | None = None


def latencies(
    network: nn.Module,
    weights: Sequence[str],
    shape: Sequence[int],
    compact: nn.Module | None = None,
    *,
    dtype: torch.dtype = torch.float32,
) -> Iterator[Latency]:
    """Measure a network against itself with its zeros filled in, on the CPU, on one thread and on all.

    Args:
        network: it, on the CPU, as it evaluates; it is left as it is.
        weights: the names of the parameters whose zeros count.
        shape: of one input, such as (channels, height, width).
        compact: a smaller network to measure besides, or None.
        dtype: of inputs; tokens are all 0.
    """
    # Both are copies: an exported network as it is loaded checks its inputs, and its copies do not.
    sparse, dense = copy.deepcopy(network), copy.deepcopy(network)
    smaller = [] if compact is None else [copy.deepcopy(compact)]
    _fill({name: dense.get_parameter(name) for name in weights})
    generator = torch.Generator().manual_seed(0)
    for batch in BATCHES:
        images = torch.rand(batch, *shape, generator=generator).to(dtype)
        for threads in sorted({1, torch.get_num_threads()}):
            with _threads(threads), torch.no_grad():
                yield _measure(dense, sparse, *smaller, images=images, threads=threads)


def _measure(dense: nn.Module, *others: nn.Module, images: Tensor, threads: int) -> Latency:
    networks = (dense, *others)
    for network in networks:
        network(images)  # the first pass takes longer: memory is still to be allocated
    calls = max(1, round(_LEAST / _time(dense, images, 1)))
    times: list[tuple[float, ...]] = []
    end = time.monotonic() + _SECONDS
    while len(times) < _ROUNDS or time.monotonic() < end:
        times.append(tuple(_time(network, images, calls) for network in networks))
    return Latency(len(images), threads, len(times), *map(statistics.median, zip(*times, strict=True)))


def _time(network: nn.Module, images: Tensor, calls: int) -> float:
    """Seconds of one of so many forward passes."""
    began = time.perf_counter()
    for _ in range(calls):
        network(images)
    return (time.perf_counter() - began) / calls


def _fill(weights: Mapping[str, Tensor]) -> None:
    """Put numbers like the others of a weight where it is 0."""
    generator = torch.Generator().manual_seed(0)
    for weight in weights.values():
        zeros = weight == 0
        scale = weight[~zeros].abs().mean().item() if not zeros.all() else 1.0
        signs = torch.randint(0, 2, weight.shape, generator=generator) * 2.0 - 1.0
        weight.data[zeros] = (scale * signs).to(weight.dtype)[zeros]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
