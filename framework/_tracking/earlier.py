"""The runs that are there already, of earlier invocations and of those beside this one."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from framework._tracking.origin import PROCESS, is_dead
from framework._tracking.params import fit
from framework._tracking.server import pages
from framework._tracking.tags import KEY, LONGEST_TAG, REASON, STOPPED
from framework._tracking.view import NOTE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def rank(status: str, stopped: bool, started: float, run_id: str) -> tuple[int, float, str]:
    """Which of several runs of one trial counts: the least. All who look at the same runs choose the same one.

    Args:
        status: FINISHED, FAILED, KILLED or RUNNING.
        stopped: a scheduler stopped it before its end.
        started: when.
        run_id: of the run.
    """
    order = {"FINISHED": int(stopped), "RUNNING": 2}.get(status, 3)
    return order, started, run_id


def is_whole(run: "Run") -> bool:
    """Whether a trial's run came to its end, and was not stopped before."""
    return run.info.status == "FINISHED" and STOPPED not in run.data.tags


def is_live(run: "Run") -> bool:
    """Whether a process may still be writing it; of another host's one cannot know."""
    return run.info.status == "RUNNING" and not is_dead(run.data.tags[PROCESS])


class Earlier:
    """Our runs in experiments.

    Args:
        client: of the tracking store.
    """

    def __init__(self, client: "MlflowClient") -> None:
        self._client = client
        self._known: dict[str, list[Run]] = {}
        self._keys: dict[str, set[str]] = {}

    def forget(self) -> None:
        """Forget what was there: it is not known what has come to be there since."""
        self._known.clear()
        self._keys.clear()

    def expect_none_but(self, experiment_id: str, runs: "Sequence[Run]") -> None:
        """Expect trials to have no runs but these, and those that this invocation makes."""
        self._keys.setdefault(experiment_id, {run.data.tags[KEY] for run in runs if KEY in run.data.tags})

    def expect_others(self) -> None:
        """Expect any trial to have a run by now: another invocation is at the same ones."""
        self._keys.clear()

    def expects_none(self, experiment_id: str, key: str) -> bool:
        """Whether a trial has no run, as far as is known; of each trial this is so only the first time."""
        keys = self._keys.get(experiment_id)
        if keys is None or key in keys:
            return False
        keys.add(key)
        return True

    def runs(self, experiment: str) -> "list[Run]":
        """Our runs in an experiment as they were when first asked for, the newest first.

        What is wrong with them is put right: those of killed processes are ended, and of several of one trial, which
        invocations that ran at once have left, all but one are set aside.
        """
        if experiment not in self._known:
            found = self._client.get_experiment_by_name(experiment)
            runs = list(self._search(found.experiment_id, f"tags.`{PROCESS}` LIKE '%'")) if found else []
            trials: dict[str, list[Run]] = {}
            for run in runs:
                self._bury(run)
                if KEY in run.data.tags:
                    trials.setdefault(run.data.tags[KEY], []).append(run)
            aside = {run.info.run_id for several in trials.values() for run in self.keep_one(_ranked(several))}
            self._known[experiment] = [run for run in runs if run.info.run_id not in aside]
        return self._known[experiment]

    def of_trial(self, experiment_id: str, key: str) -> "list[Run]":
        """The runs of a trial as they are now; the one that counts first."""
        return _ranked(self._search(experiment_id, f"tags.`{KEY}` = '{key}'"))

    def has_others(self, experiment_id: str, key: str, run_id: str) -> bool:
        """Whether a trial has runs now besides this one: cheaper than to read them, as mostly there are none."""
        condition = f"tags.`{KEY}` = '{key}' AND attributes.run_id != '{run_id}'"
        return bool(self._client.search_runs([experiment_id], condition, max_results=1))

    def keep_one(self, runs: "Sequence[Run]") -> "list[Run]":
        """Set aside all runs of a trial but the first, and those that somebody may still be writing.

        They are deleted as MLflow does it: ``mlflow gc`` removes them, and until then they can be restored.

        Returns:
            What has been set aside.
        """
        aside = [run for run in runs[1:] if not is_live(run)]
        for run in aside:
            self._client.delete_run(run.info.run_id)
        return aside

    def _search(self, experiment_id: str, condition: str) -> "Iterator[Run]":
        newest = ["attributes.start_time DESC"]
        return pages(partial(self._client.search_runs, [experiment_id], condition, max_results=1000, order_by=newest))

    def _bury(self, run: "Run") -> None:
        """End the run of a process that was killed before it could."""
        if run.info.status == "RUNNING" and not is_live(run):
            say(self._client, run.info.run_id, REASON, "the process was killed")
            self._client.set_terminated(run.info.run_id, "KILLED")


def say(client: "MlflowClient", run_id: str, tag: str, why: str) -> None:
    """Write a sentence into a tag of a run, and where MLflow's UI shows it."""
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(name, fit(why, LONGEST_TAG)) for name in (tag, NOTE)])


def _ranked(runs: "Iterator[Run] | Sequence[Run]") -> "list[Run]":
    def order(run: "Run") -> tuple[int, float, str]:
        status = run.info.status if run.info.status != "RUNNING" or is_live(run) else "KILLED"
        return rank(status, STOPPED in run.data.tags, run.info.start_time, run.info.run_id)

    return sorted(runs, key=order)
