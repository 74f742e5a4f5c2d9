"""Batches of data that are read as they are needed, by worker processes."""

import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate, get_worker_info

from framework._batches import batches_per_pass, order_of_pass
from framework._errors import DataError, describe
from framework._random import derived_seed, global_generators_seeded
from framework._ranks import in_turns


class Items(Protocol):
    """A map-style dataset, as `torch.utils.data.Dataset` describes it."""

    def __len__(self) -> int:
        """How many items there are."""

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        """Read an item: an input and a target."""


class LoaderBatches:
    """Batches of items that are read as they are needed, by worker processes, while the network trains.

    A `torch.utils.data.DataLoader` does the work. The order of a pass and the random numbers of each batch come from
    the seed, the number of the pass and that of the batch. The batches are therefore the same, bit for bit, with any
    number of workers, and when training is resumed. Workers are started as ``multiprocessing`` does by default; they
    live from pass to pass, and end with this object.

    Args:
        items: a map-style dataset: ``items[i]`` reads an input and a target, each a tensor, an array or a number, of
            one shape for all items. It may draw random numbers from the global generators of torch, NumPy and Python.
        batch_size: items per batch. The last batch of a pass may be smaller; one of a single item is left out when
            shuffling, as batch normalisation cannot train on it.
        device: where batches are wanted; to a GPU they are copied from pinned memory while it computes.
        seed: of the order and of random numbers; None: the given order, and the same random numbers in every pass.
        workers: processes that read; 0 reads in this process, when a batch is wanted.
        prefetch: batches that each worker reads ahead.
        finish: what is done to a batch on the device: maps inputs and targets to inputs and targets. It may draw random
            numbers as reading may, which on a GPU are drawn on the CPU.
        name: what errors call an item, by its index; by default ``item 3``.

    Example:
        >>> batches = LoaderBatches(items, batch_size=128, device=trial.device, seed=trial.seed, workers=4)
        >>> for inputs, targets in batches.epoch(0): ...
    """

    def __init__(
        self,
        items: Items,
        *,
        batch_size: int,
        device: torch.device,
        seed: int | None = None,
        workers: int = 0,
        prefetch: int = 2,
        finish: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        name: Callable[[int], str] = "item {}".format,
    ) -> None:
        self.items, self.batch_size, self.device, self.seed = items, batch_size, device, seed
        self.workers, self.prefetch, self.finish, self.name = workers, prefetch, finish, name
        self._loaders: list[_Loader] = []
        # Deletes them as soon as this object goes. If Python's collector of garbage did it, the queues might be gone
        # first by which a loader ends its workers, and it would wait for them for seconds.
        weakref.finalize(self, self._loaders.clear)

    def __len__(self) -> int:
        """Batches per pass."""
        return batches_per_pass(len(self.items), self.batch_size, self.seed)

    def epoch(self, number: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the inputs and targets of a pass.

        Raises:
            DataError: an item cannot be read, items of a batch differ in shape, or a worker process has died; names
                the items.
        """
        # A pass that begins while another one of these batches is not over gets workers of its own.
        loader = next((loader for loader in self._loaders if not loader.busy), None)
        if loader is None:
            loader = _Loader(self)
            self._loaders.append(loader)
        loader.busy = True
        try:

            def read(numbers: range) -> Iterator[tuple[Tensor, Tensor]]:
                keys = _keys(len(self.items), self.batch_size, self.seed, number, numbers)
                return loader.load(keys, len(numbers))

            # Where several processes run a trial, each reads some of the batches, and has the others from them.
            for i, batch in enumerate(in_turns(len(self), read)):
                inputs, targets = (tensor.to(self.device, non_blocking=True) for tensor in batch)
                if self.finish is not None:
                    with global_generators_seeded(_seed_of(self.seed, "finish", number, i)):
                        inputs, targets = self.finish(inputs, targets)
                yield inputs, targets
        finally:
            loader.busy = False
            if loader.broken and loader in self._loaders:
                self._loaders.remove(loader)


class _Key(NamedTuple):
    """What a worker makes a batch of: the seed of its random numbers, and the items."""

    seed: int
    rows: list[int]


def _keys(count: int, batch_size: int, seed: int | None, number: int, batches: Iterable[int]) -> Iterator[_Key]:
    order = order_of_pass(count, seed, number)
    order = torch.arange(count) if order is None else order
    for i in batches:
        rows = order[i * batch_size : (i + 1) * batch_size]
        yield _Key(_seed_of(seed, "items", number, i), rows.tolist())


def _seed_of(seed: int | None, what: str, number: int, batch: int) -> int:
    return derived_seed(0, what, batch) if seed is None else derived_seed(seed, what, number, batch)


class _Failure(NamedTuple):
    """Takes the place of a batch that cannot be made: why, and the traceback, empty where it is no news."""

    text: str
    traceback: str


class _InWorker(Exception):  # noqa: N818 - it only shows a traceback, as the cause of an error
    """The traceback of an error in a worker process."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class _Keys(Sampler[_Key]):
    """Gives a `DataLoader` the keys of the pass that is next."""

    def __init__(self) -> None:
        self.next: Iterator[_Key] = iter(())

    def __iter__(self) -> Iterator[_Key]:
        return self.next


class _Loader:
    """A `DataLoader` whose workers go from pass to pass."""

    def __init__(self, batches: LoaderBatches) -> None:
        self.busy = self.broken = False
        self._name = batches.name
        # By worker, the item that it reads: to be told if it dies of that.
        self._reading = torch.full((batches.workers,), -1)
        self._reading.share_memory_()  # type: ignore[no-untyped-call]
        self._keys = _Keys()
        self._loader: DataLoader[Any] = DataLoader(
            _Batches(batches.items, batches.name, self._reading),
            batch_size=None,  # a key is a batch
            sampler=self._keys,
            collate_fn=_as_it_is,
            num_workers=batches.workers,
            prefetch_factor=batches.prefetch if batches.workers else None,
            persistent_workers=batches.workers > 0,
            pin_memory=batches.device.type == "cuda",
            worker_init_fn=_leave_ctrl_c_to_the_parent,
            generator=torch.Generator(),  # or else torch's global one would be drawn from
        )

    def load(self, keys: Iterator[_Key], count: int) -> Iterator[tuple[Tensor, Tensor]]:
        self._keys.next = keys
        self._reading.fill_(-1)
        with _child_signals_kept():
            batches = iter(self._loader)
        for _ in range(count):
            try:
                batch = next(batches)
            except (RuntimeError, ConnectionError, EOFError) as error:  # the latter while a batch was handed over
                if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                    raise
                self.broken = True
                read = ", ".join(self._name(row) for row in self._reading.tolist() if row >= 0)
                raise DataError(
                    f"a worker process that reads data has died{f' (the workers were at {read})' if read else ''}: "
                    f"{describe(error)}. If its memory was too small, take fewer workers or smaller batches"
                ) from error
            if isinstance(batch, _Failure):
                raise DataError(batch.text) from (_InWorker(batch.traceback) if batch.traceback else None)
            yield batch


class _Batches(Dataset[Any]):
    """Reads whole batches; runs in a worker."""

    def __init__(self, items: Items, name: Callable[[int], str], reading: Tensor) -> None:
        self.items, self.name, self.reading = items, name, reading

    def __getitem__(self, key: _Key) -> Any:
        rows = key.rows
        read: list[tuple[Any, Any]] = []
        try:
            with global_generators_seeded(key.seed):
                for row in rows:
                    self._note(row)
                    read.append(self.items[row])
            self._note(-1)
        except DataError as error:
            return _Failure(str(error), "")
        except Exception as error:  # whatever a damaged file, or the code that reads it, raises
            return _Failure(f"{self.name(row)} cannot be read: {describe(error)}", traceback.format_exc())
        shapes = [tuple(getattr(value, "shape", ())) for value, _ in read]
        if other := next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None):
            names = (f"{shapes[i]} of {self.name(rows[i])}" for i in (0, other))
            return _Failure(f"the items of a batch must have one shape, not {' and '.join(names)}", "")
        return default_collate(read)

    def _note(self, row: int) -> None:
        worker = get_worker_info()
        if worker is not None:
            self.reading[worker.id] = row


def _as_it_is(batch: Any) -> Any:
    return batch


@contextmanager
def _child_signals_kept() -> Iterator[None]:
    """Let the death of a worker be told where its batch is waited for.

    Torch handles the signal of it instead, and raises wherever the main thread happens to be, such as in a training
    step.
    """
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, before)


def _leave_ctrl_c_to_the_parent(worker: int) -> None:
    """It comes to all processes of a terminal; workers end when their parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _tell_unless_left


def _tell_unless_left(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Show an error of a thread, unless the parent was interrupted while a batch was handed over to it."""
    if not issubclass(kind, ConnectionError):
        sys.__excepthook__(kind, error, where)
