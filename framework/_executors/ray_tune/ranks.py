"""The processes that run one trial together: Tune's worker, and actors beside it in the trial's placement group."""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from framework import _ranks as ranks
from framework._executors.ray_tune.callback import reason_of
from framework._plan import TrialPlan
from framework._plan.result import Result

_FAILED = "failed"  # the key of what another process failed of
_GRACE = 20.0  # seconds after which a process that waits for a lost one is ended


def resources(taken: Mapping[str, float]) -> Any:
    """What Tune reserves for a trial: a bundle for each process, close together.

    Args:
        taken: ``cpu`` and ``gpu`` of all ``processes`` together, and how many these are.
    """
    return tune.PlacementGroupFactory([_each(taken)] * int(taken["processes"]), strategy="PACK")


def _each(taken: Mapping[str, float]) -> dict[str, float]:
    return {unit.upper(): taken[unit] / taken["processes"] for unit in ("cpu", "gpu") if taken[unit]}


def run_together(
    plan: TrialPlan, taken: Mapping[str, float], first: Callable[[], Result], other: Callable[[], Result]
) -> Result:
    """Run an attempt at a trial on several processes, of which this one is the first.

    Args:
        plan: the trial.
        taken: as for `resources`.
        first: the attempt, in this process.
        other: the attempt, in another process.

    Returns:
        The result of the first one; or, if it could not go on since another one has failed or died, why that was.
    """
    began, size, host = time.monotonic(), int(taken["processes"]), _own_address()
    # It listens where Ray does, and not on all networks of the machine.
    listening = socket.create_server((host, 0))
    port = listening.getsockname()[1]
    store = TCPStore(host, port, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach())
    each, group = _each(taken), ray.util.get_current_placement_group()
    assert group is not None  # Tune has reserved it
    others: list[Any] = [
        ray.remote(_Other)
        .options(
            num_cpus=each.get("CPU", 0),
            num_gpus=each.get("GPU", 0),
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, number),
        )
        .remote()
        for number in range(1, size)
    ]
    ends = [one.run.remote(other, host, port, rank, size) for rank, one in enumerate(others, 1)]
    try:
        _meet(host)
        with _watched(ends), ranks.join(store, 0, size):
            result = first()
        if result.error is None:
            ray.wait(ends, num_returns=len(ends), timeout=_GRACE)
    except ranks.LostRank:
        error, traceback = _reason(store, ends)
        result = Result(plan, {}, 0, time.monotonic() - began, error, traceback=traceback)
    finally:
        for one in others:
            ray.kill(one)
    return result


class _Other:
    """A process of a trial that is not the first one."""

    def run(self, attempt: Callable[[], Result], host: str, port: int, rank: int, size: int) -> None:
        """Run the attempt; if it fails, say why where the first one looks, and end."""
        store = TCPStore(host, port, is_master=False)
        _meet(host)
        with ranks.join(store, rank, size):
            try:
                result = attempt()
                if result.error is None:
                    return
                store.set(f"{_FAILED}/{rank}", json.dumps([result.error, result.traceback]))
            except ranks.LostRank:
                pass
            os._exit(1)  # which closes its connections at once: the others would wait for it


def _own_address() -> str:
    return str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def _meet(host: str) -> None:
    """Have gloo use this machine's own network if Ray does; it asks for the address of the host's name otherwise."""
    if host.startswith("127."):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")


def _reason(store: Any, ends: Sequence[Any]) -> tuple[str, str | None]:
    """Why the other processes have left: what one of them has failed of, or else that one has died."""
    for rank in range(1, len(ends) + 1):
        if store.check([f"{_FAILED}/{rank}"]):
            error, traceback = json.loads(store.get(f"{_FAILED}/{rank}"))
            return error, traceback
    said = [str(error) for error in _deaths(ends, _GRACE)]
    telling = [text for text in said if "low on memory" in text or "node has died" in text]
    return reason_of(telling[0] if telling else ""), None


def _deaths(ends: Sequence[Any], seconds: float) -> list[RayError]:
    """What Ray has to say of those that have died so far, or die within so many seconds."""
    found = []
    for end in ray.wait([*ends], num_returns=1, timeout=seconds)[0]:
        try:
            ray.get(end)
        except RayError as error:
            found.append(error)
    return found


@contextmanager
def _watched(ends: Sequence[Any]) -> Iterator[None]:
    """End this process if another one has died, and this one has not noticed it after a while.

    A broken connection is noticed at once, but not the loss of a whole machine, and on GPUs neither.
    """
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1):
            if _deaths(ends, 0) and not over.wait(_GRACE):
                print("another process of the trial has died", file=sys.stderr, flush=True)
                os._exit(1)

    thread = threading.Thread(target=watch, name="ranks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
