"""What the user sees while trials run."""

import io
from typing import Any

from report.plans import make_plan
from rich.console import Console

from framework._terminal.view import PlainView
from framework._trial import Noted


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
