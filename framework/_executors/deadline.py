"""A trial's timeout where the trial runs in this very process."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from framework._errors import Expired

LONGEST = 1e8  # seconds, three years: timers take no more
_AGAIN = 5.0  # seconds until a trial that went on all the same is interrupted again


class Deadline:
    """Interrupts its context after some time: between two steps of Python, so not within a call that never returns.

    Only in the main thread, the one that Python interrupts; elsewhere nothing happens.

    Args:
        seconds: after which `Expired` is raised; None never.

    Attributes:
        kept: whether it will be: it is, or there is none.
    """

    def __init__(self, seconds: float | None) -> None:
        self.kept = seconds is None or threading.current_thread() is threading.main_thread()
        self._seconds = seconds if self.kept else None
        self._held = self._due = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if self._seconds is not None:
            self._before = signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, min(self._seconds, LONGEST), _AGAIN)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._seconds is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._before)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Interrupt nothing in here, but after it."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self._due:
            raise Expired

    def _ring(self, number: int, frame: FrameType | None) -> None:
        self._due = True
        if not self._held:
            raise Expired
