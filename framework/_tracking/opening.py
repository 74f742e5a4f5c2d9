"""Which run a trial writes to, where others may be running the same trial."""

import posixpath
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from framework._tracking.earlier import Earlier, is_live, is_whole
from framework._tracking.files import write_artifacts
from framework._tracking.origin import source
from framework._tracking.params import parameters, run_name, variant
from framework._tracking.run import OpenRun
from framework._tracking.tags import (
    CODE,
    HIGHER,
    KEY,
    LONGEST_TAG,
    PARENT,
    PLUGINS,
    REASON,
    SPEC,
    STAGE,
    STAGES,
    STOPPED,
    THREADS,
    VARIANT,
)
from framework._tracking.view import NOTE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PARAMS = 100  # what MLflow takes in one batch
T = TypeVar("T")


class Opener:
    """Sees to it that a trial has one run, however many invocations run it at once.

    Who finds another invocation writing a trial's run follows: it writes nothing as long as that one lives. It takes
    the run over where that one ends without a result, or comes to the end later. MLflow cannot make a run only where
    there is none: two that begin at the same instant may have one each, until the second one comes to its end.

    Args:
        client: of the tracking store.
        uri: its URI.
        earlier: the runs that are there.
    """

    def __init__(self, client: "MlflowClient", uri: str, earlier: Earlier) -> None:
        self._client = client
        self._uri = uri
        self._earlier = earlier

    def find(self, run: OpenRun, *, replaced: frozenset[str] = frozenset(), finished: bool = False) -> None:
        """Find or make the run of a trial, as it is now and not when this invocation began.

        Args:
            run: takes the run's id, and whether to follow.
            replaced: the ids of runs that a new one takes the place of, unless somebody is writing them.
            finished: the trial has come to its end already, so nobody who is still at it is waited for.
        """
        run.looked, run.follows = time.monotonic(), False
        if self._earlier.expects_none(run.experiment_id, run.plan.key):
            self._create(run)  # which looks whether there is one by now
            return
        there = self._earlier.of_trial(run.experiment_id, run.plan.key)
        old = [one for one in there if one.info.run_id in replaced and not is_live(one)]
        for one in old:
            self._client.delete_run(one.info.run_id)
        first = next((one for one in there if one not in old), None)
        if first is None:
            self._create(run)
            return
        run.run_id, run.artifact_uri, run.is_new = first.info.run_id, first.info.artifact_uri, False
        run.follows = (is_whole(first) or (is_live(first) and not finished)) and not _is_own(run, first)
        if not run.follows:
            self._revive(run, first)

    def claim(self, run: OpenRun, finished: bool) -> None:
        """Find out, at the end of a trial, whether its run is this invocation's to write; if not, it follows.

        Args:
            run: the trial's run.
            finished: the trial has come to its end, neither failed nor stopped.
        """
        if run.follows:
            with self.while_there(run):
                self.find(run, finished=finished)
            return
        for one in self._earlier.of_trial(run.experiment_id, run.plan.key)[:1]:
            ours = one.info.run_id == run.run_id
            # Somebody who followed has come to the end before; or somebody who began at the same instant.
            run.follows = not _is_own(run, one) and (is_whole(one) or (ours and is_live(one)))
            if run.follows and not ours:
                self._client.delete_run(run.run_id)

    @contextmanager
    def while_there(self, run: OpenRun) -> Iterator[None]:
        """Follow, where another invocation has finished the trial meanwhile, and set the run aside."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException:
            there = self._earlier.of_trial(run.experiment_id, run.plan.key)
            if not there or there[0].info.run_id == run.run_id or not is_whole(there[0]):
                raise
            run.follows = True

    def _create(self, run: OpenRun) -> None:
        """Make a new run, unless another invocation has made one since we looked."""
        begun, name = int(run.started * 1000), run_name(run.plan.name)
        made = self._client.create_run(run.experiment_id, start_time=begun, tags=_tags(run), run_name=name)
        run.run_id, run.artifact_uri, run.is_new = made.info.run_id, made.info.artifact_uri, True
        if self._earlier.has_others(run.experiment_id, run.plan.key, made.info.run_id):
            first = self._earlier.of_trial(run.experiment_id, run.plan.key)[0]
            if first.info.run_id != made.info.run_id:
                self._client.delete_run(made.info.run_id)
                self._earlier.expect_others()  # at the next trials too
                self.find(run)
                return
        self._describe(run, made)

    def _revive(self, run: OpenRun, there: "Run") -> None:
        """Go on in a run that is there."""
        from mlflow.entities import RunTag

        self._client.update_run(run.run_id, status="RUNNING", name=run_name(run.plan.name))
        self._client.log_batch(run.run_id, tags=[RunTag(tag, value) for tag, value in _tags(run).items()])
        # One that is still being written says nothing of its end yet.
        for tag in {REASON, STOPPED, NOTE} & set(() if is_live(there) else self._client.get_run(run.run_id).data.tags):
            self._drop(run.run_id, tag)
        self._describe(run, there)
        # Counted, not noted down: what a killed process has noted may not be what it has logged.
        run.logged = len(self._client.get_metric_history(run.run_id, STAGE))

    def _drop(self, run_id: str, tag: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.delete_tag(run_id, tag)
        except MlflowException as error:
            # Others may have taken the run over too.
            gone = error.error_code == "RESOURCE_DOES_NOT_EXIST" or tag not in self._client.get_run(run_id).data.tags
            if not gone:
                raise

    def _describe(self, run: OpenRun, there: "Run") -> None:
        """Log the parameters that a run does not have yet, and the spec."""
        from mlflow.entities import Param

        known = parameters(run.plan, run.notes)
        new = [Param(name, value) for name, value in known.items() if name not in there.data.params]
        for batch in batches(new, _PARAMS):
            self._client.log_batch(run.run_id, params=batch)
        texts = {SPEC: run.spec}
        if run.plan.code.texts:
            code = {posixpath.join(run.plan.code.base, SPEC): run.spec, **run.plan.code.texts}
            texts |= {f"{CODE}/{path}": text for path, text in code.items()}
        files = {path: text.encode() for path, text in texts.items()}
        write_artifacts(run.artifact_uri, self._uri, files)


def _tags(run: OpenRun) -> dict[str, str]:
    plan = run.plan
    return {
        **source(),
        KEY: plan.key,
        PARENT: run.parent,
        STAGES: " ".join(plan.keys[1:])[:LONGEST_TAG],
        VARIANT: variant(plan.swept, LONGEST_TAG),
        PLUGINS: ", ".join(plan.plugins)[:LONGEST_TAG],
        HIGHER: run.measures.text(LONGEST_TAG),
        **({THREADS: " ".join(map(str, plan.threads))[:LONGEST_TAG]} if plan.threads else {}),
    }


def _is_own(run: OpenRun, there: "Run") -> bool:
    """Whether it was this invocation that wrote a run last."""
    return there.data.tags.get(PARENT) == run.parent


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
