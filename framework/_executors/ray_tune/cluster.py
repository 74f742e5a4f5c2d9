"""Ray itself: started here, or joined."""

import logging
import signal
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress

import ray
from ray.job_config import JobConfig

from framework._errors import FrameworkError, describe
from framework._executors import ray_env
from framework._spec import ExperimentSpec

_ROUNDING = 1e-6


def connect(address: str | None, verbose: bool) -> None:
    """Start Ray, or join a cluster, unless this process has done so; Ray goes when the process ends.

    Raises:
        FrameworkError: it does not start, or the cluster cannot be reached.
    """
    if ray.is_initialized():
        return
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        if address is not None:
            ray_env.check_port(address)
        with warnings.catch_warnings():
            warnings.simplefilter("default" if verbose else "ignore")
            ray.init(
                address=address or "local",
                job_config=_job(),
                include_dashboard=None if address else False,
                log_to_driver=verbose,
                logging_level=logging.INFO if verbose else logging.ERROR,
            )
    except Exception as error:  # a node that does not come up in time is a bare one
        with suppress(Exception):
            ray.shutdown()  # what has come up of it
        why = " ".join(describe(error).removeprefix("Exception: ").split())
        if address is None:
            raise FrameworkError(
                f"Ray does not start on this machine: {why} (without Ray, trials run one after another: "
                "--executor inline)"
            ) from error
        raise FrameworkError(
            f"no Ray cluster answers at --address {address}: start one with `ray start --head`, "
            f"or leave the option out to run on this machine ({why})"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own handler ends the process without a word to us
    if not verbose:
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def _job() -> JobConfig:
    """Without the working folder, which Ray would put first on its workers' path, before Python's own modules."""
    job = JobConfig()
    job._py_driver_sys_path = _NoPath()
    return job


class _NoPath(list[str]):
    """Takes no folders; Ray has no option for that."""

    def extend(self, folders: object) -> None:
        """Stays empty."""


def resources(spec: ExperimentSpec, there: Mapping[str, float]) -> dict[str, float]:
    """What each trial of a spec takes of what there is.

    Raises:
        FrameworkError: it asks for more.
    """
    gpu = spec.resources["gpu"]
    asked = {"cpu": spec.resources["cpu"], "gpu": min(1, there.get("GPU", 0)) if gpu == "auto" else gpu}
    for name, amount in asked.items():
        if amount > there.get(name.upper(), 0):
            raise FrameworkError(
                f"{spec.name}: resources.{name} asks for {amount:g}, but there are only "
                f"{there.get(name.upper(), 0):g} here: lower it with --set resources.{name}=…"
            )
    return asked


def slots(asked: Mapping[str, float], there: Mapping[str, float]) -> int:
    """How many trials that take so much fit at once."""
    return int(min(there[name.upper()] / amount + _ROUNDING for name, amount in asked.items() if amount))
