"""What comes next, where trials are suggested on the way; without running any."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework._executors.agenda import Agenda
from framework._executors.gate import Gate
from framework._executors.listener import Outcome
from framework._executors.search import Point, Search
from framework._plan import TrialPlan, as_it_stands, make_plans
from framework._registry import Registry
from framework._report.table import Result
from framework._spec import ExperimentSpec, load
from framework._tracking import Finished

TEXT = """\
name: tune
model: convnet
data: digits
search: {algorithm: optuna, samples: 4}
stages:
  - train: {steps: 1}
  - prune: {amount: {uniform: [0.1, 0.9]}}
"""


class Books:
    """Takes what an agenda tells, and ends trials."""

    def __init__(self, catalog: Registry) -> None:
        self.registry, self.force = catalog, False
        self.results: dict[tuple[str, str], Result] = {}
        self.arrays: dict[str, Any] = {}
        self.told: list[tuple[Any, ...]] = []
        self.tracker = self.view = self

    def ended(self, plan: TrialPlan, outcome: Outcome) -> None:
        self.results[plan.identity] = Result(plan, {}, 0, outcome.seconds, outcome.error)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.told.append((name, *arguments))

    def end(self, plan: TrialPlan, accuracy: float, metric: str = "val/accuracy") -> None:
        self.results[plan.identity] = Result(plan, {metric: accuracy}, 1, 1.0, None)


class Downwards:
    """Suggests amounts in order."""

    def __init__(self, *_: Any) -> None:
        self.told: dict[int, float | None] = {}

    def ask(self, number: int) -> Point:
        return [0.9 - number / 10]

    def tell(self, number: int, value: float | None) -> None:
        self.told[number] = value


class Scene:
    def __init__(self, registry: Registry, folder: Path, text: str = TEXT, **known: Any) -> None:
        (folder / "tune.yaml").write_text(text)
        self.spec: ExperimentSpec = load(folder / "tune.yaml", registry)
        self.books, self.sampler = Books(registry), Downwards()
        search = Search(self.spec, {}, self.books.results, lambda *_: self.sampler, print)
        self.gate = Gate((), ())
        earlier = known.get("earlier", {})
        self.agenda = Agenda([self.spec], [search], earlier, self.gate, self.books)

    def start(self) -> str | None:
        index = self.agenda.next()
        return None if index is None else self.agenda.plan(index).variant

    def end(self, index: int, accuracy: float = 0.5, **more: Any) -> None:
        self.books.end(self.agenda.plan(index), accuracy, **more)
        self.agenda.ended(index)


@pytest.fixture
def scene(registry: Registry, tmp_path: Path) -> Scene:
    return Scene(registry, tmp_path)


def test_no_more_is_suggested_ahead_than_runs_at_once(scene: Scene) -> None:
    scene.agenda.allow({"tune": 2})
    assert scene.start() == "prune.amount=0.9"
    # The second shares the first one's training: it is suggested, and waits.
    assert scene.start() is None
    assert [what[-1] for what in scene.books.told if what[0] == "suggested" and len(what) == 5] == [[0.9], [0.8]]
    scene.agenda.stored(scene.agenda.plan(0).keys[1])
    assert scene.start() == "prune.amount=0.8"
    assert scene.start() is None
    scene.end(1, 0.75)
    assert scene.sampler.told == {1: 0.75}
    assert scene.start() == "prune.amount=0.7"
    assert not scene.agenda.done


def test_it_is_done_when_all_points_have_come_to_their_end(scene: Scene) -> None:
    for index in range(4):
        assert not scene.agenda.done
        assert scene.start() is not None
        scene.end(index)
    assert scene.agenda.done
    assert scene.start() is None
    assert scene.sampler.told == {0: 0.5, 1: 0.5, 2: 0.5}  # nobody asks for what the last one might teach


def test_a_trial_that_is_tried_again_has_not_taught_anything(scene: Scene) -> None:
    assert scene.start() == "prune.amount=0.9"
    scene.agenda.ended(0, again=True)
    assert scene.sampler.told == {}
    assert scene.start() == "prune.amount=0.9"


def test_what_was_finished_earlier_is_told_and_not_run(registry: Registry, tmp_path: Path) -> None:
    text = TEXT.replace("{uniform: [0.1, 0.9]}", "0.9").replace("search", "description: x\n# search")
    (tmp_path / "alone.yaml").write_text(text)
    [plan] = make_plans(load(tmp_path / "alone.yaml", registry), as_it_stands)
    earlier = {plan.identity: Finished("run", {"val/accuracy": 0.25}, 1, 1.0, stopped=False)}
    scene = Scene(registry, tmp_path, earlier=earlier)
    assert scene.start() == "prune.amount=0.8"
    assert scene.sampler.told == {0: 0.25}
    assert ("suggested", [], 1) in scene.books.told


def test_a_metric_that_trials_do_not_report_is_noted(scene: Scene) -> None:
    scene.start()
    scene.end(0, metric="val/acuracy")
    assert scene.sampler.told == {0: None}
    text = "tune: search.metric: no trial so far reports 'val/accuracy' (did you mean 'val/acuracy'?)"
    assert ("noted", scene.agenda.plan(0), text) in scene.books.told


def test_where_no_data_can_be_had_every_suggestion_fails_and_that_is_all(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_text("no arrays")
    scene = Scene(registry, tmp_path, TEXT.replace("digits", f"{{name: npz, path: {tmp_path / 'broken.npz'}}}"))
    assert scene.start() is None
    assert scene.agenda.done
    assert len(scene.books.results) == 4
    assert all("broken.npz" in str(result.error) for result in scene.books.results.values())


def test_trials_that_are_forced_begin_anew_but_not_what_they_share(scene: Scene) -> None:
    discarded: list[str] = []

    class Store:
        discard = staticmethod(discarded.append)

    scene.books.force, scene.books.store = True, Store
    for index in range(4):
        assert scene.start() is not None
        scene.end(index)
    assert len(discarded) == len(set(discarded)) == 1 + 4
