"""A thread that does one job after another, so that training never waits for a database."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import TypeVar

T = TypeVar("T")
# How long records may wait for others, seconds: one write of many costs little more than one of few.
GATHER_SECONDS = 0.5


class Writer:
    """Does jobs in the order in which they are given, on a thread of its own.

    Args:
        flush: writes what lazy jobs have gathered; called `GATHER_SECONDS` after the first of them, and at the end.
    """

    def __init__(self, flush: Callable[[], None]) -> None:
        self._jobs: Queue[tuple[Callable[[], None], bool] | None] = Queue()
        self._flush = flush
        self._thread = Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()

    def put(self, job: Callable[[], None], *, lazy: bool = False) -> None:
        """Have a job done; it must not raise. Lazy ones only gather what is to be written."""
        self._jobs.put((job, lazy))

    def call(self, job: Callable[[], T]) -> T:
        """Have a job done, wait for it, and return what it returns or raise what it raises."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)

        self.put(run)
        return future.result()

    def close(self, seconds: float | None = None) -> bool:
        """Do what is left, then end the thread.

        Args:
            seconds: how long to wait for that; None: until it has come to pass.

        Returns:
            Whether all is done.
        """
        self._jobs.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _work(self) -> None:
        due: float | None = None
        while True:
            try:
                item = self._jobs.get(timeout=None if due is None else max(0.0, due - monotonic()))
            except Empty:
                item = (lambda: None), False
            if item is None:
                self._flush()
                return
            job, lazy = item
            if lazy:
                job()
                due = due or monotonic() + GATHER_SECONDS
            if due is not None and monotonic() >= due:
                self._flush()
                due = None
            if not lazy:
                job()
