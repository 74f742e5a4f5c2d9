"""What is kept of trials that end faster than they can be written."""

import threading
from pathlib import Path

import pytest
from rich.console import Console

from framework._executors import recorder
from framework._executors.data import DataCache
from framework._executors.events import Ended, Started
from framework._executors.pace import Timings
from framework._executors.recorder import RunRecorder
from framework._executors.renderer import FigureRenderer
from framework._executors.scheduler import StageScheduler
from framework._plan import make_plans
from framework._plan.result import Result
from framework._registry import Registry
from framework._spec import load
from framework._spec.grid import expand_grids
from framework._store import Store
from framework._terminal.view import PlainView
from framework._tracking import Tracker, default_uri

TEXT = """\
name: fast
model: convnet
data: digits
seeds: [0, 1, 2]
stages: [train: {steps: 1}]
"""


def test_trials_that_end_faster_than_they_can_be_written_wait(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_UNWRITTEN", 2)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "fast.yaml").write_text(TEXT)
    plans = make_plans(load(tmp_path / "fast.yaml", registry), expand_grids)
    written = threading.Event()

    def late(run_id: str) -> str:
        assert written.wait(60)
        return ""

    store = Store(tmp_path / "stages")
    with FigureRenderer() as renderer, Tracker(default_uri(tmp_path), tmp_path) as tracker:
        made = RunRecorder(
            *(registry, tracker, renderer, PlainView(Console(quiet=True)), store),
            *(StageScheduler(plans, ()), None, Timings(store, "inline"), DataCache(registry), {}),
            command="",
            force=False,
            wait=False,
        )
        tracker.start("fast", "", 3, "")
        tracker.summarised("fast", note=late)  # what comes after it is not written yet
        for plan in plans:
            made.handle(plan, Started())
        for plan in plans[:2]:
            made.handle(plan, Ended(Result(plan, {}, 0, 1.0, "it failed")))
        third = threading.Thread(target=made.handle, args=(plans[2], Ended(Result(plans[2], {}, 0, 1.0, "it failed"))))
        third.start()
        third.join(0.5)
        assert third.is_alive()
        written.set()
        third.join(60)
        assert not third.is_alive()
        tracker.wait()
    assert [result.error for result in made.results.values()] == ["it failed"] * 3
