"""Find a trial's run by the name that a user gives."""

from framework._errors import DataError, nearest
from framework._tracking import Reader, TrialRun


def find_run(name: str, reader: Reader) -> TrialRun:
    """Find the run of a trial.

    Args:
        name: the id of its run or the beginning of it, or experiment and trial: ``unprune/prune.amount=0.2 seed=1``.
        reader: of the tracking store.

    Raises:
        DataError: there is none of that name, or there are several; names the nearest.
        TrackingError: the tracking store cannot be reached.
    """
    experiments = reader.experiments()
    named = [experiment for experiment in experiments if name.startswith(f"{experiment}/")]
    trials = [trial for experiment in named or experiments for trial in reader.trials(experiment)]
    found = [trial for trial in trials if name == called(trial) or (name and trial.run_id.startswith(name))]
    if not found:
        raise DataError(f"there is no run {name!r} ({nearest(name, map(called, trials))})")
    if len(found) > 1:
        which = ", ".join(f"{trial.run_id} ({called(trial)})" for trial in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise DataError(f"{name!r} may be any of {len(found)} runs: {which}{more}; give enough of its id")
    return found[0]


def find_network(name: str, reader: Reader) -> TrialRun:
    """Find the run of a trial that has left a network.

    Raises:
        DataError: there is none of that name, there are several, or it has not come to its end.
        TrackingError: the tracking store cannot be reached.
    """
    trial = find_run(name, reader)
    if trial.stopped or trial.status != "FINISHED":
        why = "it was stopped" if trial.stopped else f"it is {trial.status}"
        raise DataError(f"{called(trial)} has no network: {why}{f': {trial.reason}' if trial.reason else ''}")
    return trial


def called(trial: TrialRun) -> str:
    """What a user may call a trial's run."""
    return f"{trial.experiment}/{trial.name}"


_SHOWN = 5
