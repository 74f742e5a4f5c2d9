"""What a trial may take of the machine."""

from collections.abc import Mapping
from typing import Any

from framework._errors import Problem
from framework._spec.checks import integer, mapping_or_null, number, unknown_keys
from framework._spec.node import Node

# Of one trial: CPUs, GPUs, seconds after which it is ended, and how often it is tried again after a failure.
RESOURCES: Mapping[str, Any] = {"cpu": 1, "gpu": "auto", "timeout": None, "retries": 1}
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
    if "cpu" in given:
        expected = f"a number from {LEAST:g} to {MOST_CPUS}"
        resources["cpu"] = number(given["cpu"], lambda n: LEAST <= n <= MOST_CPUS, expected, found) or 1
    if "gpu" in given and given["gpu"].value != "auto":
        expected = f"auto, 0, or a number from {LEAST:g} to 1 (a trial uses one GPU, or shares it)"
        resources["gpu"] = number(given["gpu"], lambda n: n == 0 or LEAST <= n <= 1, expected, found)
    if "timeout" in given and given["timeout"].value is not None:
        least, most = SECONDS
        expected = f"a number of seconds from {least:g} to {most:,.0f}, or null"
        resources["timeout"] = number(given["timeout"], lambda n: least <= n <= most, expected, found)
    if "retries" in given:
        resources["retries"] = integer(given["retries"], 0, found, MOST_RETRIES)
    return resources
