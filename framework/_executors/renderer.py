"""Has trials drawn beside the trials that still run, in processes that yield to them."""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self

from framework._errors import FrameworkError
from framework._report.figures import FigureData, as_files, trial_figures

_WORKER = "framework._report.figures.worker"
_WORKERS = 2  # drawing takes less than a second per trial


class FigureRenderer:
    """Draws the figures of trials in processes of its own, which start when they are needed.

    They are not forked, and import neither torch nor Ray nor MLflow, so that starting them costs little. They are no
    part of the terminal's process group: Ctrl-C is not theirs. When this process ends, however it does, so do they.
    A `ProcessPoolExecutor` does not give that: its processes import the user's script again, and outlive a parent that
    is killed.

    Use it as a context manager, or call `close`.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_WORKERS, "figures")
        self._own = threading.local()  # the process of each thread
        self._lock = threading.Lock()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._closed = False
        self._warm = False

    def warm(self) -> None:
        """Start a process now, if none has been: the first trial to end does not wait for it."""
        if not self._warm:
            self._warm = True
            self._threads.submit(self._process)

    def draw(self, trial: FigureData) -> "Future[Mapping[str, bytes]]":
        """Have a trial drawn.

        Returns:
            Its figures as files, by path; or a FrameworkError that says why there are none.
        """
        return self._threads.submit(self._draw, trial)

    def close(self) -> None:
        """End the processes; what is not drawn yet is not drawn any more."""
        with self._lock:
            self._closed = True
        for process in self._processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            _bury(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    # --- on threads of its own ---------------------------------------------------------------------------------

    def _draw(self, trial: FigureData) -> Mapping[str, bytes]:
        try:
            process = self._process()
            assert process.stdin is not None
            assert process.stdout is not None
            pickle.dump(trial, process.stdin)
            process.stdin.flush()
            answer: Mapping[str, bytes] | str = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            if self._closed:
                raise
            # It cannot be started, or somebody has killed it: then the next trial gets a new one.
            vars(self._own).pop("process", None)
            return as_files(trial_figures(trial))
        if isinstance(answer, str):
            raise FrameworkError(answer)
        return answer

    def _process(self) -> "subprocess.Popen[bytes]":
        if not hasattr(self._own, "process"):
            with self._lock:
                if self._closed:
                    raise FrameworkError("nothing more is drawn")
                self._own.process = _start()
                self._processes.append(self._own.process)
        process: subprocess.Popen[bytes] = self._own.process
        return process


def _start() -> "subprocess.Popen[bytes]":
    # What this process imports is found there too, and nothing that happens to lie in the user's folder.
    alone = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MPLBACKEND": "agg", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", _WORKER],
        env={**os.environ, **alone},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    )


def _bury(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with suppress(BrokenPipeError):  # what it was to read
            pipe.close()
    process.wait()
