"""Which stored stages runs refer to."""

from collections.abc import Collection
from functools import partial

from framework._errors import TrackingError
from framework._tracking.server import connect, is_new, pages, translate_errors
from framework._tracking.tags import KEY, STAGES


def unfinished(uri: str) -> set[str]:
    """The stage keys of all trials whose runs are not finished; empty if there is no tracking store.

    Raises:
        TrackingError: the tracking store cannot be reached.
    """
    return set() if is_new(uri) else referenced(uri, statuses=("RUNNING", "SCHEDULED"))


def referenced(uri: str, statuses: Collection[str] | None = None) -> set[str]:
    """The stage keys of all trials that have a run, in any experiment; deleted runs and experiments do not count.

    Args:
        uri: of the tracking store.
        statuses: of the runs that count, as MLflow calls them; None: all.

    Raises:
        TrackingError: the tracking store cannot be reached, or is not there, so that it says nothing.
    """
    if is_new(uri):
        raise TrackingError(f"there is no tracking store {uri}, so nothing says which stages its runs refer to")
    with translate_errors(uri):
        client = connect(uri)
        found: set[str] = set()
        for experiment in pages(client.search_experiments):
            # One by one, as a server refuses a query on many.
            for run in pages(partial(client.search_runs, [experiment.experiment_id])):
                if statuses is not None and run.info.status not in statuses:
                    continue
                # The last key besides: the list of all may have been cut, and from a key one finds those before it.
                found.update(run.data.tags.get(STAGES, "").split(), [run.data.tags.get(KEY, "")])
        return found - {""}
