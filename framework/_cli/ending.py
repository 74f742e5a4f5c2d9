"""How the process of a command ends."""

import atexit
import os
import sys


class Ending:
    """Ends this process at once, after all else that is registered to be done at its exit.

    Python would first take apart all that torch, Ray and MLflow have put together, which takes a second. Make it before
    anything else is registered: the first comes last.

    Attributes:
        code: the process's exit code, if nobody says another: that of an error.
    """

    def __init__(self) -> None:
        self.code = 1
        atexit.register(self._end)

    def _end(self) -> None:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            try:
                stream.flush()
            except OSError:  # nobody reads it any more
                self.code = self.code or 120  # as Python says it
        os._exit(self.code)
