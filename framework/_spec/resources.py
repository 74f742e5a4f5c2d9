"""What a trial may take of the machine."""

from collections.abc import Mapping
from typing import Any

from framework._errors import Problem
from framework._spec.checks import integer, mapping_or_null, number, unknown_keys
from framework._spec.node import Node

AUTO = "auto"
# Of one trial: CPUs, GPUs, seconds after which it is ended, how often it is tried again after a failure, and the
# threads of its stages.
RESOURCES: Mapping[str, Any] = {"cpu": AUTO, "gpu": AUTO, "timeout": None, "retries": 1, "threads": AUTO}
LEAST = 1e-4  # of a CPU or a GPU: Ray counts no finer
MOST_CPUS = 4096
SECONDS = (1e-3, 1e9)  # that can be waited for
MOST_RETRIES = 10**6


def read_resources(node: Node | None, found: list[Problem]) -> dict[str, Any]:
    """What a spec says under ``resources``, defaults filled in."""
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
        expected = f"auto, 0, or a number from {LEAST:g} to 1 (a trial uses one GPU, or shares it)"
        resources["gpu"] = number(given["gpu"], lambda n: n == 0 or LEAST <= n <= 1, expected, found)
    if "timeout" in given and given["timeout"].value is not None:
        least, most = SECONDS
        expected = f"a number of seconds from {least:g} to {most:,.0f}, or null"
        resources["timeout"] = number(given["timeout"], lambda n: least <= n <= most, expected, found)
    if "retries" in given:
        resources["retries"] = integer(given["retries"], 0, found, MOST_RETRIES)
    if "threads" in given and given["threads"].value != AUTO:
        resources["threads"] = _threads(given["threads"], found)
    return resources


def _threads(node: Node, found: list[Problem]) -> list[int]:
    if not isinstance(node.value, list) or not node.value:
        found.append(node.problem(f"must be auto, or a list of how many threads each stage uses, not {node.shown}"))
        return []
    return [integer(count, 1, found, MOST_CPUS) or 1 for count in node.value]
