"""The command's process ends at once, and leaves nothing undone."""

import os
import subprocess
import sys

import pytest

CODE = """
import atexit, sys
from framework._cli.ending import Ending

ending = Ending()
atexit.register(lambda: print("done at exit"))

class Kept:
    def __del__(self):
        print("taken apart")

sys.kept = Kept()
print("said")
"""


def ended(code: str, output: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}  # what is said waits to be written
    command = [sys.executable, "-c", f"{CODE}\n{code}"]
    return subprocess.run(command, env=environment, stdout=output, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("code", [0, 1, 130])
def test_what_is_registered_is_done_what_is_said_is_written_and_nothing_is_taken_apart(code: int) -> None:
    done = ended(f"ending.code = {code}")
    assert (done.returncode, done.stdout, done.stderr) == (code, "said\ndone at exit\n", "")


def test_an_error_nobody_has_caught_is_shown_and_is_the_exit_code() -> None:
    done = ended("raise ValueError(7)")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "ValueError: 7")


def test_what_cannot_be_written_is_an_exit_code() -> None:
    read, write = os.pipe()
    os.close(read)
    done = ended("ending.code = 0", output=write)
    os.close(write)
    assert done.returncode == 120
