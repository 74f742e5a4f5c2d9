"""Which stored stages runs refer to."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from framework.errors import TrackingError
from framework.tracking.runs import STAGES
from framework.tracking.server import connect, is_new, plainly

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def referenced(uri: str) -> set[str]:
    """The stage keys of all trials that have a run, in any experiment; deleted runs and experiments do not count.

    Raises:
        TrackingError: the tracking store cannot be reached, or is not there, so that it says nothing.
    """
    if is_new(uri):
        raise TrackingError(f"there is no tracking store {uri}, so nothing says which stages its runs refer to")
    with plainly(uri):
        client = connect(uri)
        return {key for run in _runs(client) for key in run.data.tags.get(STAGES, "").split()}


def _runs(client: "MlflowClient") -> "Iterator[Run]":
    """All live runs of all live experiments."""
    experiments, token = [], None
    while True:
        found = client.search_experiments(page_token=token)
        experiments += [experiment.experiment_id for experiment in found]
        token = found.token
        if not token:
            break
    # One by one, as a server refuses a query on many.
    for experiment in experiments:
        while True:
            page = client.search_runs([experiment], page_token=token)
            yield from page
            token = page.token
            if not token:
                break
