"""What a trial may take of the machine."""

from collections.abc import Mapping
from typing import Any

from framework._errors import Problem
from framework._spec.checks import integer, mapping_or_null, number, unknown_keys
from framework._spec.node import Node

AUTO = "auto"
# Of one trial: CPUs and GPUs, of all its processes together; seconds after which it is ended; how often it is tried
# again after a failure; the threads of its stages, in each process; and how many processes train it together.
RESOURCES: Mapping[str, Any] = {
    "cpu": AUTO,
    "gpu": AUTO,
    "timeout": None,
    "retries": 1,
    "threads": AUTO,
    "processes": 1,
}
LEAST = 1e-4  # of a CPU or a GPU: Ray counts no finer
MOST_CPUS = 4096
SECONDS = (1e-3, 1e9)  # that can be waited for
MOST_RETRIES = 10**6
MOST_PROCESSES = 1024


def read_resources(node: Node | None, found: list[Problem]) -> dict[str, Any]:
    """What a spec says under ``resources``, defaults filled in; of several GPUs, each has a process."""
    resources = dict(RESOURCES)
    *others, last = RESOURCES
    if node is None or not mapping_or_null(node, f"{', '.join(others)} and {last}", found) or not node.value:
        return resources
    unknown_keys(node, tuple(RESOURCES), "resources", found)
    given = node.value
    if "cpu" in given and given["cpu"].value != AUTO:
        expected = f"auto, or a number from {LEAST:g} to {MOST_CPUS}"
        resources["cpu"] = number(given["cpu"], lambda n: LEAST <= n <= MOST_CPUS, expected, found) or 1
    if "gpu" in given and given["gpu"].value != AUTO:
        expected = f"auto, 0, a number from {LEAST:g} to 1 (below 1, trials share a GPU), or several whole GPUs"
        resources["gpu"] = number(given["gpu"], _is_gpus, expected, found)
    if "processes" in given:
        resources["processes"] = integer(given["processes"], 1, found, MOST_PROCESSES) or 1
    _match(given, resources, found)
    if "timeout" in given and given["timeout"].value is not None:
        least, most = SECONDS
        expected = f"a number of seconds from {least:g} to {most:,.0f}, or null"
        resources["timeout"] = number(given["timeout"], lambda n: least <= n <= most, expected, found)
    if "retries" in given:
        resources["retries"] = integer(given["retries"], 0, found, MOST_RETRIES)
    if "threads" in given and given["threads"].value != AUTO:
        resources["threads"] = _threads(given["threads"], found)
    return resources


def _is_gpus(count: float) -> bool:
    return count == 0 or LEAST <= count <= 1 or (count == int(count) and 1 < count <= MOST_PROCESSES)


def _match(given: Mapping[str, Node], resources: dict[str, Any], found: list[Problem]) -> None:
    """Give each of several GPUs a process, and report processes that have not one each."""
    gpu, processes = resources["gpu"], resources["processes"]
    if gpu in (AUTO, None, 0):
        return
    if "processes" not in given:
        resources["processes"] = max(1, int(gpu))
    elif max(gpu, processes) > 1 and gpu != processes:
        wanted = f"as many as GPUs, of which resources.gpu asks for {gpu:g}: each process has one of its own"
        found.append(given["processes"].problem(f"must be {wanted} (on CPUs alone: gpu: 0)"))


def _threads(node: Node, found: list[Problem]) -> list[int]:
    if not isinstance(node.value, list) or not node.value:
        found.append(node.problem(f"must be auto, or a list of how many threads each stage uses, not {node.shown}"))
        return []
    return [integer(count, 1, found, MOST_CPUS) or 1 for count in node.value]
