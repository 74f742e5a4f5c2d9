"""Runs the command in processes that are forked from one that has imported what takes long.

Importing it all takes some eight seconds of a CPU, which most tests of the command are not about. The first of them
pays for all. As in any other process, what is registered to be done at its exit is done.

Started as a program, with the descriptor of a listening socket, it serves until its standard input ends.
"""

import atexit
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

SOCKET = "FRAMEWORK_TESTS_SOCKET"  # the environment variable that says where the server of this test run listens
_SECONDS = 300
_IMPORTS = (
    *("framework._cli.run", "framework._executors.ray_tune"),  # ahead of Ray: it says in the environment what Ray reads
    *("torch._dynamo", "mlflow.pytorch", "mlflow.store.tracking.sqlalchemy_store", "sklearn.datasets"),
)


@contextmanager
def served(environment: dict[str, str]) -> Iterator[None]:
    """Have a server, and say where it is in the environment; it imports nothing before it is asked to run something.

    Args:
        environment: of the server; commands that it runs have their own.
    """
    # Not pytest's folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="fork-") as folder, socket.socket(socket.AF_UNIX) as listening:
        os.environ[SOCKET] = f"{folder}/socket"
        listening.bind(os.environ[SOCKET])
        listening.listen()
        process = subprocess.Popen(
            [sys.executable, __file__, str(listening.fileno())],
            env=environment,
            pass_fds=[listening.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        listening.close()
        with process:  # ends its standard input, and waits
            yield


class Command:
    """A command that the server runs, as `subprocess.Popen` has it.

    Args:
        argv: its path and arguments.
        folder: where to run it.
        environment: all of it.
        out, err: files that take what it writes.
    """

    def __init__(self, argv: list[str], folder: Path, environment: dict[str, str], out: IO[str], err: IO[str]) -> None:
        self.returncode: int | None = None
        self._server = socket.socket(socket.AF_UNIX)
        self._server.settimeout(_SECONDS)
        self._server.connect(os.environ[SOCKET])
        socket.send_fds(self._server, [b"!"], [out.fileno(), err.fileno()])
        self._answers = self._server.makefile("rw", encoding="utf-8")
        request = {"argv": argv, "folder": str(folder), "environment": environment}
        print(json.dumps(request), file=self._answers, flush=True)
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """How it ended, if it has."""
        if self.returncode is None and select.select([self._server], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, seconds: float = _SECONDS) -> int:
        """How it ended, once it has.

        Raises:
            TimeoutError: it takes longer.
        """
        if self.returncode is None:
            self._server.settimeout(seconds)
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._server.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(argv: list[str], folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Have the server run a command, and wait for it; see `Command`."""
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,
        tempfile.TemporaryFile("w+", encoding="utf-8") as err,
    ):
        command = Command(argv, folder, environment, out, err)
        try:
            code = command.wait()
        finally:
            command.kill()
            command.wait()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(argv, code, out.read(), err.read())


def _serve(descriptor: int) -> dict[str, Any] | None:
    """Take requests from a listening socket.

    Returns:
        In a process that is to run a command, what was asked for; in the server, None when it is to end.
    """
    with socket.socket(fileno=descriptor) as listening, selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while all(key.fileobj is listening for key, _ in selector.select()):
            client, _ = listening.accept()
            _import()
            with client:
                if os.fork() == 0:
                    listening.close()
                    return _run(client)
            while _reap():
                pass
    return None


def _import() -> None:
    from framework._tracking.server import configure

    configure()
    for name in _IMPORTS:
        importlib.import_module(name)
    gc.freeze()  # looked through, it would be copied for every process


def _reap() -> bool:
    """Whether a process that has ended was one of ours."""
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _run(client: socket.socket) -> dict[str, Any]:
    """Fork the process that is to run the command, and tell the client how it ended; return in that process only."""
    _, fds, *_ = socket.recv_fds(client, 1, 2)
    file = client.makefile("rw", encoding="utf-8")
    request: dict[str, Any] = json.loads(file.readline())
    child = os.fork()
    if child:
        print(child, file=file, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=file, flush=True)
        os._exit(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for theirs, ours in zip(fds, (1, 2), strict=True):
        os.dup2(theirs, ours)
        os.close(theirs)
    file.close()
    client.close()
    return request


def _become(request: dict[str, Any], before: dict[str, str]) -> None:
    """Make of this process what it would be if it had been started with the command."""
    import numpy as np

    imported = {name: value for name, value in os.environ.items() if before.get(name) != value}
    os.environ.clear()
    os.environ.update({**imported, **request["environment"]})
    os.chdir(request["folder"])
    sys.argv = request["argv"]
    sys.path[0] = os.path.dirname(sys.argv[0])
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    np.random.seed()  # else all would draw the same; Python's own generator sees to that itself


def _end(code: int) -> None:
    """End this process as Python does, but do not take apart what was imported: that takes a second or two."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.path[0] = os.path.dirname(sys.executable)  # none of the tests' modules is to be found
    before = dict(os.environ)
    request = _serve(int(sys.argv[1]))
    if request is None:
        _end(0)
    else:
        _become(request, before)
        from framework._cli import main

        try:
            main()
        except SystemExit as ended:
            _end(int(ended.code or 0))
