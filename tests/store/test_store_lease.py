"""A stage is computed by one at a time, but one that hangs is not waited for: real processes, really stopped."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running import wait_for

from framework._store import Store
from framework._store import lease as lease_module
from framework._store.lease import lease

# Says that it is in, leaves when a file tells it to, and says that it is out.
OWNER = """
import importlib.util, sys, time
from pathlib import Path

spec = importlib.util.spec_from_file_location("lease", sys.argv[5])  # without torch, which takes seconds
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
lease = module.lease

path, seconds, folder, name = Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
with lease(path, (folder / f"{name}.waits").touch, seconds):
    (folder / f"{name}.in").touch()
    while not (folder / f"{name}.leave").exists():
        time.sleep(0.02)
(folder / f"{name}.out").touch()
"""
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process that wants to be the owner."""
    started = []

    def go(name: str, seconds: float = 1.0) -> "subprocess.Popen[bytes]":
        command = [
            sys.executable,
            "-c",
            OWNER,
            str(tmp_path / "lease"),
            str(seconds),
            str(tmp_path),
            name,
            lease_module.__file__,
        ]
        started.append(subprocess.Popen(command))
        return started[-1]

    yield go
    for process in started:
        process.kill()
        process.wait()


def until(path: Path) -> None:
    wait_for(path.exists)


def test_one_that_is_stopped_is_replaced_and_does_no_harm_when_it_goes_on(start: Start, tmp_path: Path) -> None:
    stopped = start("stopped")
    until(tmp_path / "stopped.in")
    os.kill(stopped.pid, signal.SIGSTOP)
    start("second")
    start("third")
    until(tmp_path / "second.waits")
    until(tmp_path / "third.waits")
    wait_for(lambda: any((tmp_path / f"{name}.in").exists() for name in ("second", "third")))
    [owner, waits] = sorted(("second", "third"), key=lambda name: not (tmp_path / f"{name}.in").exists())
    # What the one that took over shows counts from now on.
    time.sleep(2.0)
    assert not (tmp_path / f"{waits}.in").exists()
    # The late one leaves, and takes nothing from the new owner.
    os.kill(stopped.pid, signal.SIGCONT)
    (tmp_path / "stopped.leave").touch()
    until(tmp_path / "stopped.out")
    time.sleep(0.5)
    assert not (tmp_path / f"{waits}.in").exists()
    (tmp_path / f"{owner}.leave").touch()
    until(tmp_path / f"{waits}.in")
    (tmp_path / f"{waits}.leave").touch()
    until(tmp_path / f"{waits}.out")
    assert not (tmp_path / "lease").exists()


def test_one_that_works_for_longer_than_its_lease_keeps_it(start: Start, tmp_path: Path) -> None:
    start("first")
    until(tmp_path / "first.in")
    start("second")
    until(tmp_path / "second.waits")
    time.sleep(2.5)
    assert not (tmp_path / "second.in").exists()
    (tmp_path / "first.leave").touch()
    until(tmp_path / "second.in")


def test_one_that_is_killed_is_not_waited_for(start: Start, tmp_path: Path) -> None:
    first = start("first", seconds=3600)
    until(tmp_path / "first.in")
    start("second", seconds=3600)
    until(tmp_path / "second.waits")
    first.kill()
    until(tmp_path / "second.in")


def test_threads_keep_each_other_out_too(tmp_path: Path) -> None:
    inside, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with lease(tmp_path / "lease", lambda: None):
                with lock:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.001)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_a_store_leaves_no_lease_behind(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.lock("a" * 8, lambda: None):
        assert [path.name for path in (tmp_path / "locks").iterdir()] == ["a" * 8]
    assert not [*(tmp_path / "locks").iterdir()]
    assert store.orphans() == {}
