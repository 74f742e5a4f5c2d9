"""Trials are drawn in processes of their own, whatever becomes of these."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from running import environment, wait_for, write

from framework import FrameworkError
from framework._executors.renderer import FigureRenderer
from framework._report.figures import FigureData, as_files, trial_figures

TRIAL = FigureData("toy", ["train"], [(1, 0, {"train/loss": 1.0, "sparsity": 0.0}), (2, 0, {"train/loss": 0.5})])


def workers(of: int | None = None) -> list[psutil.Process]:
    """The processes that draw, below this one or another."""
    found = psutil.Process(of).children(recursive=True)
    return [process for process in found if any("figures.worker" in word for word in process.cmdline())]


def test_a_trial_is_drawn_as_it_would_be_here_in_a_process_that_yields() -> None:
    with FigureRenderer() as renderer:
        assert workers() == []
        drawn = renderer.draw(TRIAL).result()
        assert drawn == as_files(trial_figures(TRIAL))
        [process] = workers()
        assert process.nice() > psutil.Process().nice()
        assert os.getpgid(process.pid) != os.getpgid(0)
        assert renderer.draw(TRIAL).result() == drawn
        assert workers() == [process]
    assert workers() == []


def test_two_at_most_draw_at_once() -> None:
    with FigureRenderer() as renderer:
        drawn = [renderer.draw(TRIAL) for _ in range(5)]
        assert len({len(one.result()) for one in drawn}) == 1
        assert len(workers()) == 2


def test_a_process_can_be_started_before_there_is_anything_to_draw() -> None:
    with FigureRenderer() as renderer:
        renderer.warm()
        renderer.warm()
        wait_for(workers)
        [started] = workers()
        renderer.draw(TRIAL).result()
        assert started in workers()


def test_when_its_process_is_killed_a_trial_is_drawn_here_and_the_next_one_has_a_new_process() -> None:
    with FigureRenderer() as renderer:
        expected = renderer.draw(TRIAL).result()
        [process] = workers()
        process.kill()
        process.wait()
        assert renderer.draw(TRIAL).result() == expected
        assert workers() == []
        assert renderer.draw(TRIAL).result() == expected
        assert len(workers()) == 1


def test_what_cannot_be_drawn_says_why_and_the_next_trial_is_drawn() -> None:
    broken = FigureData("toy", ["train"], TRIAL.records, {"weights.json": b"{"})
    with FigureRenderer() as renderer:
        with pytest.raises(FrameworkError, match=r"^JSONDecodeError: "):
            renderer.draw(broken).result()
        assert renderer.draw(TRIAL).result()


def test_what_the_users_folder_holds_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "matplotlib.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    with FigureRenderer() as renderer:
        renderer.draw(TRIAL).result()
        assert len(workers()) == 1


DRIVER = """
import sys, time
from framework._executors.renderer import FigureRenderer
from framework._report.figures import FigureData
with FigureRenderer() as renderer:
    renderer.draw(FigureData("toy", ["train"], [(1, 0, {"train/loss": 1.0, "sparsity": 0.0})])).result()
    print("drawn", flush=True)
    time.sleep(60)
"""


def test_no_process_is_left_when_the_one_that_draws_is_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", DRIVER], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "drawn\n"
        [worker] = workers(process.pid)
    finally:
        process.kill()
        process.communicate()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)


def test_ctrl_c_leaves_no_process_and_no_traceback_and_what_has_ended_is_drawn(gate: str, tmp_path: Path) -> None:
    text = """
        name: long
        model: convnet
        data: digits
        seeds: [0, 1]
        stages: [wait: {path: go}, prune: {amount: 0.5}]
        """
    write(tmp_path, {"long.yaml": text})
    command = [str(Path(sys.executable).with_name("framework")), "run", "long.yaml", "--executor", "inline"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(PYTHONPATH=gate),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_for(lambda: workers(process.pid))
        [worker] = workers(process.pid)
        time.sleep(1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, printed = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert printed == "interrupted; what is finished is kept, and the same command goes on from there\n"
    assert not worker.is_running()
