"""A tracking store that does not answer is asked again, for a while."""

import os
from collections.abc import Callable
from threading import Event
from time import monotonic, strftime
from typing import TypeVar

from framework._errors import TrackingError
from framework._tracking.server import lost, reason

T = TypeVar("T")
SETTING = "FRAMEWORK_TRACKING_PATIENCE"
_LONGEST, _FIRST_PAUSE, _LONGEST_PAUSE = 600.0, 0.25, 8.0  # seconds
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"


class RetryPolicy:
    """Asks again until the store answers, at most so long as the environment's `SETTING` says (seconds).

    Until it is closed, MLflow's own client asks once: it would create a second run where an answer was lost, and it
    could not be interrupted.

    Args:
        store: how the store is called, for people.
        tell: called with a sentence when the store is waited for, and when it is back.

    Attributes:
        waiting: the store has not answered the last time.

    Raises:
        TrackingError: the environment's setting is no number.
    """

    def __init__(self, store: str, tell: Callable[[str], None]) -> None:
        self._store, self._tell = store, tell
        self._seconds = _seconds()
        self.waiting = False
        self._over = Event()
        self._retries = os.environ.get(_RETRIES)
        os.environ[_RETRIES] = "0"

    def end(self) -> None:
        """Do not wait any more; whoever does gets the error at once."""
        self._over.set()

    def close(self) -> None:
        """Let MLflow's client ask as often as before."""
        os.environ.pop(_RETRIES, None)
        if self._retries is not None:
            os.environ[_RETRIES] = self._retries

    def ask(self, call: Callable[[], T], again: Callable[[], None]) -> T:
        """Call until the store answers.

        Args:
            call: it may end anywhere and begin anew, so what is there already must not be written twice.
            again: called before it begins anew.

        Raises:
            Exception: what it raised last: the store refuses, or has not answered for too long.
        """
        pause, since, announced = _FIRST_PAUSE, 0.0, False
        while True:
            try:
                answer = call()
                break
            except Exception as error:
                self.waiting = lost(error)
                if not self.waiting or self._over.is_set():
                    raise
                since = since or monotonic()
                if monotonic() - since >= self._seconds:
                    self.end()
                    raise
                if pause > _FIRST_PAUSE and not announced:  # what is over at once is nobody's concern
                    announced = True
                    self._tell(
                        f"{self._store} does not answer ({reason(error)}), {strftime('%H:%M:%S')}: what it does not "
                        f"get is kept, and it is asked again for {self._seconds:g} s"
                    )
                if self._over.wait(pause):
                    raise
            pause = min(2 * pause, _LONGEST_PAUSE)
            again()
        self.waiting = False
        if announced:
            self._tell(f"{self._store} answers again, {strftime('%H:%M:%S')}")
        return answer


def _seconds() -> float:
    given = os.environ.get(SETTING, str(_LONGEST))
    try:
        return float(given)
    except ValueError as error:
        raise TrackingError(f"{SETTING} must be a number of seconds, such as 600, and not {given!r}") from error
