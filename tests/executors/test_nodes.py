"""What a cluster has and may come to have, as Ray tells it."""

from typing import Any

import pytest
from ray.core.generated.autoscaler_pb2 import ClusterConfig, NodeGroupConfig

from framework._executors.ray_tune import nodes
from framework._executors.ray_tune.nodes import Kind, kinds_of, potential

UP = """
cluster_name: study
max_workers: 3
head_node_type: head
available_node_types:
  head: {resources: {CPU: 2}, node_config: {}}
  cpu: {resources: {CPU: 8}, min_workers: 1, max_workers: 2, node_config: {}}
  gpu: {resources: {CPU: 16, GPU: 4}, max_workers: 10, node_config: {}}
  any: {resources: {CPU: 1}, node_config: {}}
"""


def node(group: str | None = None, **resources: float) -> dict[str, Any]:
    """A node as `ray.nodes` tells it."""
    labels = {"ray.io/node-id": "1"} | ({"ray.io/node-group": group} if group else {})
    return {"Alive": True, "Resources": {"memory": 1e9, **resources}, "Labels": labels}


def test_machines_that_somebody_has_started_are_all_there_is() -> None:
    found = potential([node(CPU=2), node(CPU=8, GPU=1)], [])
    assert [(has["CPU"], has.get("GPU", 0)) for has in found.nodes] == [(2, 0), (8, 1)]
    assert not found.unknown


def test_machines_that_a_cluster_starts_count_as_if_they_were_there_and_those_that_are_only_once() -> None:
    there = [node("head", CPU=2), node("cpu", CPU=8)]
    found = potential(there, [Kind("cpu", {"CPU": 8}, 2), Kind("gpu", {"CPU": 16, "GPU": 4}, 1), Kind("head", {}, 0)])
    assert [(has["CPU"], has.get("GPU", 0)) for has in found.nodes] == [(2, 0), (8, 0), (8, 0), (16, 4)]
    assert not found.unknown
    assert (found.slots(1, 1), found.slots(1, 0)) == (4, 34)


def test_any_number_of_machines_is_more_than_trials_need() -> None:
    assert potential([], [Kind("gpu", {"CPU": 4, "GPU": 1}, -1)]).slots(1, 1) >= 1000


def test_of_a_cluster_that_labels_its_machines_and_says_no_more_anything_may_come() -> None:
    assert potential([node("headgroup", CPU=2)], []).unknown


def test_what_ray_up_was_told_says_what_may_come() -> None:
    assert kinds_of(UP) == [
        Kind("cpu", {"CPU": 8}, 2),
        Kind("gpu", {"CPU": 16, "GPU": 4}, 3),
        Kind("any", {"CPU": 1}, 3),
    ]


def test_a_cluster_that_is_joined_is_asked_and_one_of_our_own_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [NodeGroupConfig(name="gpu", resources={"CPU": 4, "GPU": 1}, min_count=0, max_count=2)]
    config = ClusterConfig(node_group_configs=groups)
    monkeypatch.setattr(nodes.ray._private.state.state, "get_cluster_config", lambda: config)
    dead = node(CPU=64) | {"Alive": False}
    monkeypatch.setattr(nodes.ray, "nodes", lambda: [node(CPU=2), dead])
    now, later = nodes.machines("auto")
    assert (now.slots(1, 0), now.slots(1, 1)) == (2, 0)
    assert (later.slots(1, 0), later.slots(1, 1)) == (10, 2)
    assert later.most_threads == 1  # as OMP_NUM_THREADS says here
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert nodes.machines("auto")[1].most_threads is None
    assert nodes.machines(None)[1].slots(1, 1) == 0
