"""What is suggested, which values it gets, and what is known of it the next time; without trials."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from framework._executors import ray_tune
from framework._executors.search import Point, Search, study_of
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._registry import Registry
from framework._spec import ExperimentSpec, load

TEXT = """\
name: tune
model: convnet
data: digits
seeds: [0, 1]
search: {algorithm: optuna, samples: 3, metric: val/loss}
stages:
  - train: {epochs: 1, optimizer: {name: sgd, lr: {loguniform: [1e-4, 1]}}}
  - prune: {amount: {choice: [0.2, 0.5]}}
"""


class Scripted:
    """Suggests what it was given, and remembers the values."""

    def __init__(self, *points: Point) -> None:
        self.points, self.values, self.known = list(points), dict[int, float | None](), dict[int, Point]()

    def __call__(self, spec: ExperimentSpec, known: Mapping[int, Point]) -> "Scripted":
        self.known = dict(known)
        return self

    def ask(self, number: int) -> Point:
        return self.points.pop(0)

    def tell(self, number: int, value: float | None) -> None:
        self.values[number] = value


@pytest.fixture
def spec(tmp_path: Path, registry: Registry) -> Callable[..., ExperimentSpec]:
    def make(*settings: str, text: str = TEXT) -> ExperimentSpec:
        (tmp_path / "tune.yaml").write_text(text)
        return load(tmp_path / "tune.yaml", registry, settings)

    return make


def ended(plan: TrialPlan, loss: float | None = None, error: str | None = None) -> Result:
    return Result(plan, {} if loss is None else {"val/loss": loss}, 1, 1.0, error)


class Study:
    """A search with its results."""

    def __init__(self, spec: ExperimentSpec, *points: Point, known: Mapping[int, Point] | None = None) -> None:
        self.sampler, self.results, self.notes = Scripted(*points), dict[tuple[str, str], Result](), list[str]()
        self.search = Search(spec, known or {}, self.results, self.sampler, self.notes.append)

    def end(self, plans: Sequence[TrialPlan], *losses: float | None, error: str | None = None) -> None:
        for plan, loss in zip(plans, losses, strict=True):
            self.results[plan.identity] = ended(plan, loss, error)
        self.search.learn()


def test_a_point_is_a_trial_for_each_seed_and_is_told_by_their_mean(spec: Any) -> None:
    study = Study(spec(), [0.01, 1], [0.1, 0], [0.2, 0])
    number, point, plans = study.search.suggest()
    assert (number, point) == (0, [0.01, 1])
    assert [plan.name for plan in plans] == [f"train.optimizer.lr=0.01 prune.amount=0.5 seed={seed}" for seed in (0, 1)]
    assert plans[0].swept == {"train.optimizer.lr": 0.01, "prune.amount": 0.5}
    assert (study.search.under_way, study.search.coming) == (2, 2)
    study.end(plans[:1], 1.0)
    assert study.sampler.values == {}
    assert study.search.under_way == 1
    study.end(plans[1:], 2.0)
    assert study.sampler.values == {0: -1.5}  # a loss: the less of it, the better


def test_equal_points_are_one_trial_and_each_is_told(spec: Any) -> None:
    study = Study(spec(), [0.01, 1], [0.01, 1], [0.01, 0])
    _, _, plans = study.search.suggest()
    assert study.search.suggest()[2] == []
    study.end(plans, 1.0, 2.0)
    assert study.sampler.values == {0: -1.5, 1: -1.5}
    assert study.search.plans == plans
    assert len(study.search.suggest()[2]) == 2
    assert study.search.coming == 0


@pytest.mark.parametrize(
    ("losses", "error"), [((1.0, None), None), ((1.0, float("nan")), None), ((1.0, 1.0), "it failed")]
)
def test_a_point_without_a_number_for_every_seed_has_failed(spec: Any, losses: Any, error: str | None) -> None:
    study = Study(spec(), [0.01, 1])
    study.end(study.search.suggest()[2], *losses, error=error)
    assert study.sampler.values == {0: None}


def test_values_that_do_not_go_together_are_passed_over(spec: Any) -> None:
    text = TEXT.replace("lr: {log", "nesterov: {choice: [false, true]}, momentum: {choice: [0.9, 0.0]}, lr: {log")
    study = Study(spec(text=text), [1, 1, 0.01, 0], [1, 1, 0.01, 0], [0, 1, 0.01, 0])
    assert study.search.suggest()[2] == study.search.suggest()[2] == []
    study.search.learn()
    assert study.sampler.values == {0: None, 1: None}
    [note] = study.notes  # for both
    assert note.startswith("tune: a point of the search space is passed over: ")
    assert "Nesterov momentum requires a momentum" in note
    assert len(study.search.suggest()[2]) == 2


def test_what_was_tried_before_counts_and_is_told(spec: Any) -> None:
    known = {4: [0.1, 0], 2: [0.01, 1]}
    study = Study(spec(), [0.5, 0], known=known)
    assert study.search.coming == 1
    assert [plan.swept["train.optimizer.lr"] for plan in study.search.plans] == [0.01, 0.01, 0.1, 0.1]
    study.end(study.search.plans[:2], 1.0, 2.0)
    assert (study.sampler.known, study.sampler.values) == (known, {2: -1.5})
    assert study.search.suggest()[0] == 5


def test_when_all_was_tried_before_nothing_is_asked(spec: Any) -> None:
    study = Study(spec(), known={0: [0.1, 0], 1: [0.2, 0], 2: [0.3, 0], 3: [0.4, 0]})
    assert (study.search.coming, len(study.search.plans)) == (0, 6)
    study.end(study.search.plans, *[1.0] * 6)
    assert (study.sampler.known, study.sampler.values) == ({}, {})


def test_a_study_is_all_that_suggestions_depend_on(spec: Any) -> None:
    same = ("search.samples=9", "search.scheduler=asha", "seeds=[7]", "resources.cpu=2", "name=other")
    other = ("search.seed=1", "search.metric=val/accuracy", "search.mode=max", "stages.0.train.epochs=2")
    assert {study_of(spec(setting)) for setting in same} == {study_of(spec())}
    assert len({study_of(spec(setting)) for setting in ("search.samples=3", *other)}) == 5


# --- Optuna --------------------------------------------------------------------------------------------------------


def tried(spec: ExperimentSpec, samples: int, goodness: Callable[[float], float | None]) -> list[Point]:
    sampler = ray_tune.Optuna(spec, {})
    points = []
    for number in range(samples):
        points.append(sampler.ask(number))
        sampler.tell(number, goodness(points[-1][0]))
    return points


def test_optuna_learns_from_results(spec: Any) -> None:
    spec = spec("search.samples=30")
    points = tried(spec, 30, lambda lr: -abs(lr - 0.5))
    assert all(1e-4 <= lr <= 1 and choice in (0, 1) for lr, choice in points)
    near = [sum(0.25 < lr < 1 for lr, _ in part) for part in (points[:10], points[-10:])]
    assert near[0] < 5 <= near[1]
    # Only the first ten are random.
    other = tried(spec, 30, lambda lr: lr)
    assert points[:10] == other[:10]
    assert points[10:] != other[10:]


def test_optuna_suggests_the_same_with_the_same_results_and_goes_on_with_failures(spec: Any) -> None:
    spec = spec("search.samples=12")
    assert tried(spec, 12, lambda lr: lr) == tried(spec, 12, lambda lr: lr)
    assert len(tried(spec, 12, lambda lr: lr if lr > 0.01 else None)) == 12


def test_optuna_goes_on_from_points_that_are_known(spec: Any) -> None:
    spec = spec("search.samples=6")
    before = tried(spec, 3, lambda lr: lr)
    known = dict(enumerate(before))
    sampler = ray_tune.Optuna(spec, known)
    for number, (lr, _) in known.items():
        sampler.tell(number, lr)
    assert [*before, sampler.ask(3)] == tried(spec, 4, lambda lr: lr)
    assert sampler.ask(4) not in before


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("{uniform: [0.1, 0.4]}", lambda value: 0.1 <= value <= 0.4),
        ("{choice: [0.1, {uniform: [0.3, 0.4]}]}", lambda value: value == 0.1 or 0.3 <= value <= 0.4),
    ],
)
def test_every_kind_of_space_is_suggested_within_its_bounds(spec: Any, space: str, expected: Any) -> None:
    spec = spec(f"stages.1.prune.amount={space}", "stages.0.train.epochs={randint: [1, 3]}", "search.samples=8")
    search = Search(spec, {}, {}, ray_tune.Optuna, print)
    plans = [plan for _ in range(8) for plan in search.suggest()[2]]
    assert {plan.stages[0]["epochs"] for plan in plans} == {1, 2}
    assert all(expected(plan.stages[1]["amount"]) for plan in plans)
    assert len({plan.key for plan in plans}) == 16
