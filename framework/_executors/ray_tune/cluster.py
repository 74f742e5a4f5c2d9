"""Ray itself: started here, or joined."""

import logging
import signal
import threading
import warnings
from contextlib import suppress

import ray
from ray.job_config import JobConfig

from framework._errors import FrameworkError, describe
from framework._executors import ray_env


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
