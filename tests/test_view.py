"""What the user sees while trials run."""

import io
import time
from typing import Any

from report.plans import make_plan
from rich.console import Console

from framework._executors.events import Started
from framework._stage import Record
from framework._terminal.view import PlainView
from framework._trial import Noted, Recorded


def lines(view: PlainView) -> list[str]:
    written: Any = view.console.file
    return list(written.getvalue().splitlines())


def test_what_all_trials_have_to_say_is_said_once() -> None:
    view = PlainView(Console(file=io.StringIO()))
    for seed in (1, 2):
        view.handle(make_plan("train", seed=seed), Noted("no figure"))
    assert lines(view) == ["note: no figure"]


def test_what_happens_twice_is_said_twice_even_within_a_second() -> None:
    view = PlainView(Console(file=io.StringIO()))
    for _ in range(2):
        view.remarked("the store answers again, 12:00:00")
    assert lines(view) == ["note: the store answers again, 12:00:00"] * 2


def test_the_time_left_is_told_from_the_start_and_counts_shared_epochs_once() -> None:
    view = PlainView(Console(file=io.StringIO()))
    plans = [make_plan("train", seed=seed) for seed in (1, 2)]
    view.planned(plans, 0, 0, 10, 100.0)
    assert lines(view) == ["2 trials to run, about 1 min 40 s left"]
    for plan in plans:
        view.handle(plan, Started())
    now = time.time()
    for plan, when in zip(plans, (now + 1, now - 100), strict=True):  # the other one finds them in the store
        for epoch in range(1, 6):
            view.handle(plan, Recorded(Record(epoch, 0, {}, when)))
    assert view.left() == ", about 25 s left"  # half of what is left by earlier runs, as it went so much faster


def test_without_earlier_runs_the_time_left_is_told_once_there_are_epochs() -> None:
    view = PlainView(Console(file=io.StringIO()))
    plan = make_plan("train")
    view.planned([plan], 0, 0, 10)
    assert view.left() == ""
    view.handle(plan, Started())
    view.began -= 30
    view.handle(plan, Recorded(Record(3, 0, {}, time.time() + 1)))
    assert view.left() == ", about 1 min 10 s left"
