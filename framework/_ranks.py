"""The processes that run one trial together, each of which is called a rank.

All ranks run the same code on the same state, so what they compute is the same, but for what is split among them: the
rows of a batch. Rank 0 alone reads and writes the store, reports, and is observed; the others get what it found. A
process that runs a trial by itself is rank 0 of one, for which all of this does nothing.
"""

import io
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
# Ranks wait for rank 0, which may wait for a stage that another run computes. A rank that dies is noticed otherwise.
_WAIT = timedelta(days=30)


class LostRank(BaseException):
    """Another process of the trial is gone. No `Exception`, which plugins may take for a failure of their own."""


@dataclass
class _Ranks:
    rank: int = 0
    size: int = 1


_now = _Ranks()


def size() -> int:
    """How many processes run the trial together."""
    return _now.size


def rank() -> int:
    """Which of them this is, from 0 on."""
    return _now.rank


@contextmanager
def join(store: Any, rank: int, size: int) -> Iterator[None]:
    """Be one of the processes that run a trial together, within the context.

    Tensors on the CPU are exchanged with gloo, those on a GPU with NCCL.

    Args:
        store: where the processes find each other, a `torch.distributed.Store`.
        rank: which of them this is, from 0 on.
        size: how many there are.

    Raises:
        LostRank: another one is gone.
    """
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    _now.rank, _now.size = rank, size
    try:
        with others_needed():
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_WAIT)
        yield
    finally:
        _now.rank, _now.size = 0, 1
        if dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def alone() -> Iterator[None]:
    """Do what only this rank does: within the context it is as if there were no others."""
    before = _now.rank, _now.size
    _now.rank, _now.size = 0, 1
    try:
        yield
    finally:
        _now.rank, _now.size = before


@contextmanager
def others_needed() -> Iterator[None]:
    """Tell an error that comes of the loss of another rank from all others.

    Raises:
        LostRank: another one is gone, and something has been exchanged with it within the context.
    """
    try:
        yield
    except RuntimeError as error:
        # Gloo raises what it raises for anything else, and says only in its text that it is gloo.
        if _now.size > 1 and (isinstance(error, dist.DistError) or "gloo" in str(error).lower()):
            raise LostRank(f"another process of the trial is gone: {str(error).splitlines()[0]}") from error
        raise


def decided(make: Callable[[], T]) -> T:
    """Let rank 0 alone make something, of which the others get a copy."""
    if _now.size == 1:
        return make()
    if _now.rank:
        return agreed(None)  # type: ignore[return-value]
    with alone():
        made = make()
    return agreed(made)


def agreed(value: T) -> T:
    """What rank 0 has in the place of a value that all have: numbers may differ in the last digit, or be times."""
    if _now.size == 1:
        return value
    return _sent(value, 0)


def _sent(value: T, source: int) -> T:
    """What one rank has, on all of them. Tensors in it come on the CPU, in their layout."""
    tensors: list[Tensor] = []
    written = io.BytesIO()
    if _now.rank == source:
        _Writer(written, tensors).dump(value)
    content = torch.frombuffer(bytearray(written.getvalue()), dtype=torch.uint8) if written.tell() else torch.empty(0)
    length = torch.tensor(len(content))
    with others_needed():
        dist.broadcast(length, source)
        if _now.rank != source:
            content = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(content, source)
        if _now.rank != source:
            # It comes from another process of this trial, which runs the same code.
            return _Reader(io.BytesIO(content.numpy().tobytes()), source).load()  # type: ignore[no-any-return]
        for tensor in tensors:
            dist.broadcast(tensor, source)
    return value


class _Writer(pickle.Pickler):
    """Leaves tensors out, which are sent after the rest as they lie in memory."""

    def __init__(self, file: io.BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(file)
        self._tensors = tensors

    def persistent_id(self, value: Any) -> Any:
        if type(value) is not Tensor or value.layout != torch.strided:
            return None
        dense = value.detach().to("cpu", copy=True)
        self._tensors.append(dense.as_strided((dense.numel(),), (1,)).view(torch.uint8))
        return dense.dtype, dense.shape, dense.stride()


class _Reader(pickle.Unpickler):
    """Takes the tensors one after another, as they are met."""

    def __init__(self, file: io.BytesIO, source: int) -> None:
        super().__init__(file)
        self._source = source

    def persistent_load(self, pid: Any) -> Tensor:
        dtype, shape, stride = pid
        content = torch.empty(shape.numel() * dtype.itemsize, dtype=torch.uint8)
        dist.broadcast(content, self._source)
        return content.view(dtype).as_strided(shape, stride)


@torch.no_grad()
def take_from_first(tensors: Sequence[Tensor]) -> None:
    """Give tensors the values that they have on rank 0."""
    if _now.size == 1:
        return
    by_device: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        by_device.setdefault(tensor.device, []).append(tensor.detach())
    for group in by_device.values():
        parts = [_bytes(tensor) for tensor in group]
        together = torch.cat(parts)
        with others_needed():
            dist.broadcast(together, 0)
        if _now.rank:
            for tensor, part in zip(group, torch.split(together, [len(part) for part in parts]), strict=True):
                # A copy lies where numbers of its type may lie.
                tensor.copy_(part.clone().view(tensor.dtype).view(tensor.shape))


def _bytes(tensor: Tensor) -> Tensor:
    """Its content, which every backend can send, whatever its type."""
    return tensor.contiguous().view(-1).view(torch.uint8)


def summed(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, without a gradient."""
    total = tensor.detach().clone(memory_format=torch.contiguous_format)
    with others_needed():
        dist.all_reduce(total)
    return total


@dataclass(frozen=True)
class Share:
    """This rank's rows of a batch.

    Ranks have as many rows, or one more, and none has a single one, of which batch normalisation has no variance. Where
    a batch has too few rows, some ranks have none: so that they need not be skipped wherever ranks wait for each other,
    they compute with the first rank's, which then count nothing.

    Attributes:
        rows: those that it computes with.
        counts: of each rank, how many of its rows count.
    """

    rows: slice
    counts: tuple[int, ...]

    @property
    def counted(self) -> int:
        """How many of its rows count."""
        return self.counts[_now.rank]

    @property
    def weight(self) -> float:
        """What its mean loss is multiplied by: the mean over all ranks is then the mean over all rows."""
        return self.counted * len(self.counts) / sum(self.counts)

    def of(self, batch: Any) -> Any:
        """Its part of a batch: tensors, or mappings and sequences of them, with a row for each input."""
        if isinstance(batch, Tensor):
            return batch[self.rows]
        if isinstance(batch, Mapping):
            return {name: self.of(part) for name, part in batch.items()}
        if isinstance(batch, tuple | list):
            parts = map(self.of, batch)
            return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
        raise TypeError(f"a batch is split among processes by rows of tensors, which a {type(batch).__name__} has not")

    def gathered(self, tensor: Tensor) -> Tensor:
        """The whole batch's rows, out of each rank's, in their order; without a gradient."""
        most = max(self.counts)
        mine = tensor.detach()
        if len(mine) < most:
            mine = torch.cat([mine, mine.new_zeros(most - len(mine), *mine.shape[1:])])
        sent = _bytes(mine)
        found = [torch.empty_like(sent) for _ in self.counts]
        with others_needed():
            dist.all_gather(found, sent)
        return torch.cat([f.view(mine.dtype).view(mine.shape)[:n] for f, n in zip(found, self.counts, strict=True)])


def share(rows: int) -> Share:
    """Split a batch of so many rows."""
    taking_part = max(1, min(_now.size, rows // 2))
    each, more = divmod(rows, taking_part)
    counts = [each + (r < more) for r in range(taking_part)]
    mine = _now.rank if _now.rank < taking_part else 0
    first = sum(counts[:mine])
    return Share(slice(first, first + counts[mine]), (*counts, *[0] * (_now.size - taking_part)))


def in_turns(count: int, make: Callable[[range], Iterator[T]]) -> Iterator[T]:
    """Make things one after another, each on one rank only, for all of them.

    Args:
        count: how many.
        make: makes those of these numbers, in their order.
    """
    own = make(range(_now.rank, count, _now.size))
    if _now.size == 1:
        yield from own
        return
    for number in range(count):
        source = number % _now.size
        yield _sent(next(own) if source == _now.rank else None, source)  # type: ignore[misc]
