"""What comes next, where trials are suggested on the way; without running any."""

from pathlib import Path
from typing import Any

import pytest

from framework._executors.data import DataCache
from framework._executors.events import Ended, Started, TrialEvent
from framework._executors.queue import TrialQueue
from framework._executors.scheduler import StageScheduler
from framework._executors.search import Point, Search
from framework._plan import TrialPlan, as_it_stands, make_plans
from framework._plan.result import Result
from framework._registry import Registry
from framework._spec import ExperimentSpec, load
from framework._tracking import TrialRun
from framework._trial import Noted

TEXT = """\
name: tune
model: convnet
data: digits
search: {algorithm: optuna, samples: 4}
stages:
  - train: {steps: 1}
  - prune: {amount: {uniform: [0.1, 0.9]}}
"""


class Downwards:
    """Suggests amounts in order."""

    def __init__(self, *_: Any) -> None:
        self.values: dict[int, float | None] = {}

    def ask(self, number: int) -> Point:
        return [0.9 - number / 10]

    def tell(self, number: int, value: float | None) -> None:
        self.values[number] = value


class Scene:
    def __init__(self, registry: Registry, folder: Path, text: str = TEXT, **given: Any) -> None:
        (folder / "tune.yaml").write_text(text)
        self.spec: ExperimentSpec = load(folder / "tune.yaml", registry)
        self.results: dict[tuple[str, str], Result] = {}
        self.points: list[Point] = []
        self.suggested: list[tuple[int, int]] = []
        self.notes: list[tuple[TrialPlan, str]] = []
        self.sampler, self.scheduler = Downwards(), StageScheduler((), ())
        search = Search(self.spec, {}, self.results, lambda *_: self.sampler, print)
        self.queue = TrialQueue(
            [self.spec],
            [search],
            given.get("earlier", {}),
            self.results,
            self.scheduler,
            DataCache(registry),
            lambda experiment, study, number, point: self.points.append(point),
            self.handle,
            lambda plans, spared: self.suggested.append((len(plans), spared)),
            given.get("discard"),
        )

    def handle(self, plan: TrialPlan, event: TrialEvent) -> None:
        match event:
            case Noted(text):
                self.notes.append((plan, text))
            case Ended(result):
                assert result.plan is plan
                self.results[plan.identity] = result
            case _:
                assert event == Started()

    def start(self) -> str | None:
        index = self.queue.next()
        return None if index is None else self.queue.plan(index).variant

    def end(self, index: int, accuracy: float = 0.5, metric: str = "val/accuracy") -> None:
        plan = self.queue.plan(index)
        self.results[plan.identity] = Result(plan, {metric: accuracy}, 1, 1.0)
        self.queue.ended(index)


@pytest.fixture
def scene(registry: Registry, tmp_path: Path) -> Scene:
    return Scene(registry, tmp_path)


def test_no_more_is_suggested_ahead_than_runs_at_once(scene: Scene) -> None:
    scene.queue.allow({"tune": 2})
    assert scene.start() == "prune.amount=0.9"
    # The second shares the first one's training: it is suggested, and waits.
    assert scene.start() is None
    assert scene.points == [[0.9], [0.8]]
    scene.scheduler.stored(scene.queue.plan(0).keys[1])
    assert scene.start() == "prune.amount=0.8"
    assert scene.start() is None
    scene.end(1, 0.75)
    assert scene.sampler.values == {1: 0.75}
    assert scene.start() == "prune.amount=0.7"
    assert not scene.queue.done


def test_it_is_done_when_all_points_have_come_to_their_end(scene: Scene) -> None:
    for index in range(4):
        assert not scene.queue.done
        assert scene.start() is not None
        scene.end(index)
    assert scene.queue.done
    assert scene.start() is None
    assert scene.sampler.values == {0: 0.5, 1: 0.5, 2: 0.5}  # nobody asks for what the last one might teach


def test_a_trial_that_is_tried_again_has_not_taught_anything(scene: Scene) -> None:
    assert scene.start() == "prune.amount=0.9"
    scene.queue.ended(0, again=True)
    assert scene.sampler.values == {}
    assert scene.start() == "prune.amount=0.9"


def finished(plan: TrialPlan, metrics: dict[str, float]) -> TrialRun:
    return TrialRun(
        run_id="run",
        experiment=plan.experiment,
        name=plan.name,
        key=plan.key,
        swept=plan.swept,
        seed=plan.seed,
        status="FINISHED",
        stopped=False,
        reason="",
        started=0.0,
        params={},
        metrics=metrics,
        parent="",
    )


def test_what_was_finished_earlier_is_told_and_not_run(registry: Registry, tmp_path: Path) -> None:
    text = TEXT.replace("{uniform: [0.1, 0.9]}", "0.9").replace("search", "description: x\n# search")
    (tmp_path / "alone.yaml").write_text(text)
    [plan] = make_plans(load(tmp_path / "alone.yaml", registry), as_it_stands)
    earlier = {plan.identity: finished(plan, {"val/accuracy": 0.25, "epochs": 1.0, "seconds": 2.5})}
    scene = Scene(registry, tmp_path, earlier=earlier)
    assert scene.start() == "prune.amount=0.8"
    assert scene.sampler.values == {0: 0.25}
    assert scene.suggested[0] == (0, 1)
    result = scene.results[plan.identity]
    assert (result.metrics, result.epochs, result.seconds) == ({"val/accuracy": 0.25}, 1, 2.5)
    assert result.complete


def test_a_metric_that_trials_do_not_report_is_noted(scene: Scene) -> None:
    scene.start()
    scene.end(0, metric="val/acuracy")
    assert scene.sampler.values == {0: None}
    text = "tune: search.metric: no trial so far reports 'val/accuracy' (did you mean 'val/acuracy'?)"
    assert scene.notes == [(scene.queue.plan(0), text)]


def test_where_no_data_can_be_had_every_suggestion_fails_and_that_is_all(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_text("no source")
    scene = Scene(registry, tmp_path, TEXT.replace("digits", f"{{name: npz, path: {tmp_path / 'broken.npz'}}}"))
    assert scene.start() is None
    assert scene.queue.done
    assert len(scene.results) == 4
    assert all("broken.npz" in str(result.error) for result in scene.results.values())


def test_trials_that_are_forced_begin_anew_but_not_what_they_share(registry: Registry, tmp_path: Path) -> None:
    discarded: list[str] = []
    scene = Scene(registry, tmp_path, discard=lambda *keys: discarded.extend(keys))
    for index in range(4):
        assert scene.start() is not None
        scene.end(index)
    assert len(discarded) == len(set(discarded)) == 1 + 4
