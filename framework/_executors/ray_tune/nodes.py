"""The machines of a Ray cluster: those that are there, and those that it starts when they are asked for."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
import torch
import yaml

from framework._executors.machines import Machines

_GROUP = "ray.io/node-group"  # the label by which a node says which kind of machine it is
_ANY_NUMBER = 1_000
_ENDLESS = 10**6
_LOOK_SECONDS = 10.0  # how often it is looked which machines have come or gone


class Kind(NamedTuple):
    """A kind of machine that a cluster starts.

    Attributes:
        name: what nodes of it have as their label.
        resources: what each has.
        most: how many there may be; -1: any number.
    """

    name: str
    resources: Mapping[str, float]
    most: int


def machines(address: str | None) -> tuple[Machines, Machines]:
    """What trials can run on: now, and once the cluster has started all that it may start.

    Args:
        address: where the cluster was joined; None if it was started here.
    """
    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    # Torch takes as many threads as are good for this machine; of others, only the environment may say how many.
    told = address is None or "OMP_NUM_THREADS" in os.environ
    most_threads = torch.get_num_threads() if told else None
    return potential(nodes, []), potential(nodes, [] if address is None else _kinds(), most_threads)


class Room:
    """How many trials can run at once, as machines come and go; at least one, and no fewer than there is room for.

    Args:
        address: where the cluster was joined; None if it was started here.
        taken: what trials take: ``cpu`` and ``gpu``, for each kind of trials.
        most: how many may run at once, however many fit; None: any number.
    """

    def __init__(self, address: str | None, taken: Iterable[Mapping[str, float]], most: int | None) -> None:
        self._address, self._taken, self._most = address, [*taken], most
        self._slots, self._due = 1, 0.0

    def __call__(self) -> int:
        if time.monotonic() >= self._due:
            _, later = machines(self._address)
            fitting = sum(later.slots(**amounts) for amounts in self._taken)
            self._slots = max(1, min(_ENDLESS if later.unknown else fitting, self._most or _ENDLESS))
            self._due = time.monotonic() + _LOOK_SECONDS
        return self._slots


def potential(nodes: Sequence[Mapping[str, Any]], kinds: Iterable[Kind], most_threads: int | None = None) -> Machines:
    """What a cluster may come to have.

    Args:
        nodes: those that are there, as `ray.nodes` tells them.
        kinds: of the machines that it starts, as far as known.
        most_threads: see `Machines`.
    """
    startable = {kind.name: kind for kind in kinds if kind.most}
    fixed = [node for node in nodes if node["Labels"].get(_GROUP) not in startable]
    started = [
        kind.resources
        for kind in startable.values()
        for _ in range(_ANY_NUMBER if kind.most < 0 else min(kind.most, _ANY_NUMBER))
    ]
    # Only what starts and labels machines knows which kinds there are, and not each one tells.
    unknown = not startable and any(_GROUP in node["Labels"] for node in nodes)
    return Machines([*(node["Resources"] for node in fixed), *started], unknown, most_threads)


def _kinds() -> list[Kind]:
    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]
        return []  # a proxy, which does not tell
    config = ray._private.state.state.get_cluster_config()
    if config is not None:
        return [Kind(group.name, group.resources, group.max_count) for group in config.node_group_configs]
    file = Path("~/ray_bootstrap_config.yaml").expanduser()  # which `ray up` leaves on the head node
    return kinds_of(file.read_text(encoding="utf-8")) if file.is_file() else []


def kinds_of(config: str) -> list[Kind]:
    """The kinds of machines in the configuration of a cluster that `ray up` has started.

    Args:
        config: as YAML.
    """
    content = yaml.safe_load(config)
    limit = content.get("max_workers", _ANY_NUMBER)
    return [
        Kind(name, kind.get("resources", {}), min(limit, kind.get("max_workers", limit)))
        for name, kind in content["available_node_types"].items()
        if name != content.get("head_node_type")
    ]
