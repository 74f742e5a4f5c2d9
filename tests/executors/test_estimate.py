"""How long trials will take, told by earlier ones."""

from pathlib import Path

import pytest

from framework._executors.estimate import Estimator
from framework._executors.pace import Timings, read_paces
from framework._plan import TrialPlan
from framework._plan.result import Result
from framework._store import Store
from framework._trial import StageEnd

SECONDS = {"train": 10.0, "prune": 1.0}


def plan(*stages: str, seed: int = 0, name: str = "convnet", epochs: int = 2) -> TrialPlan:
    keys = tuple("/".join([name, str(seed), *stages[:count]]) for count in range(len(stages) + 1))
    return TrialPlan(
        experiment="study",
        swept={},
        seed=seed,
        model={"name": name},
        data={"dataset": {"name": "digits"}},
        stages=tuple({"name": stage.split(":")[0]} for stage in stages),
        resources={"cpu": 1, "gpu": 0},
        keys=keys,
        stage_epochs=tuple(epochs if stage.startswith("train") else 0 for stage in stages),
    )


def run(store: Store, plan: TrialPlan, *, device: str = "CPU", seconds: dict[str, float] = SECONDS) -> None:
    timings = Timings(store, "inline")
    with timings.kept(pytest.fail):
        timings.trial_started(plan)
        for index, stage in enumerate(plan.stages):
            ended = plan.keys[index + 1], plan.stage_epochs[index], True, 1000, seconds[stage["name"]], device
            timings.stage_ended(plan, StageEnd(index, *ended))
        timings.trial_ended(Result(plan, {}, 0, 1.0))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "stages")


def test_nothing_is_told_of_a_model_that_has_never_run(store: Store) -> None:
    run(store, plan("train"))
    estimator = Estimator([plan("train"), plan("train", name="resnet18")], (), store)
    assert [one.model["name"] for one in estimator.unknown] == ["resnet18"]
    assert estimator(1) is None


def test_the_time_is_that_of_the_epochs_of_earlier_runs(store: Store) -> None:
    run(store, plan("train", "prune"))
    estimate = Estimator([plan("train", "prune", seed=1, epochs=6)], (), store)(1)
    assert estimate is not None
    assert estimate.seconds == pytest.approx(3 * 10 + 1, abs=0.5)
    assert estimate.size == 2000


def test_what_trials_share_takes_its_time_once_and_the_rest_runs_at_once(store: Store) -> None:
    run(store, plan("train", "prune", "train"))
    plans = [plan("train", f"prune:{amount}", "train") for amount in range(4)]
    estimator = Estimator(plans, (), store)
    alone, two, many = (estimator(number) for number in (1, 2, 100))
    assert alone is not None
    assert two is not None
    assert many is not None
    assert alone.seconds == pytest.approx(10 + 4 * 11, abs=0.5)
    # One trains what all go on from. Then two of them prune and train at once, and then the other two.
    assert two.seconds == pytest.approx(10 + 2 * 11, abs=0.5)
    assert many.seconds == pytest.approx(10 + 11, abs=0.5)
    assert alone.size == two.size == many.size == 9000
    assert sum(many.busy.values()) == pytest.approx(10 + 4 * 11, abs=0.5)


def test_what_is_stored_takes_no_time(store: Store) -> None:
    run(store, plan("train", "prune"))
    later = plan("train", "prune", seed=1)
    estimate = Estimator([later], later.keys[:2], store)(1)
    assert estimate is not None
    assert estimate.seconds == pytest.approx(1, abs=0.5)


def test_the_latest_device_counts(store: Store) -> None:
    automatic = {"cpu": 1, "gpu": "auto"}
    for device, seconds in (("A GPU", 1.0), ("CPU", 10.0)):
        run(store, plan("train"), device=device, seconds={"train": seconds})
    anywhere = plan("train", seed=1)
    anywhere = TrialPlan(**{**vars(anywhere), "resources": automatic})
    estimator = Estimator([anywhere], (), store)
    estimate = estimator(1)
    assert estimator.devices == ["CPU"]
    assert estimate is not None
    assert estimate.seconds == pytest.approx(10, abs=0.5)


def test_a_stage_that_was_found_in_the_store_tells_nothing(store: Store) -> None:
    timings, trained = Timings(store, "inline"), plan("train")
    with timings.kept(pytest.fail):
        timings.trial_started(trained)
        timings.stage_ended(trained, StageEnd(0, trained.keys[1], 2, executed=False))
        timings.trial_ended(Result(trained, {}, 0, 1.0))
    assert Estimator([trained], (), store).unknown == [trained]


def test_only_the_latest_stages_are_kept(store: Store) -> None:
    for seconds in [100.0] * 30 + [10.0] * 20:
        run(store, plan("train"), seconds={"train": seconds})
    [pace] = read_paces(store, [plan("train")])
    assert pace.stage("train", 2) == (10.0, 1000)


def test_what_anybody_may_have_written_there_is_no_measure(store: Store) -> None:
    run(store, plan("train"))
    [file] = Path(store.uri).glob("pace-*")
    for content in ("", "[]", "[1]", '{"name": 3}', '[{"name": "train", "seconds": "x"}]'):
        file.write_text(content)
        assert Estimator([plan("train")], (), store).unknown
