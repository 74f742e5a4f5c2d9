"""Pruning criteria: the elements with the lowest scores are pruned."""

from collections.abc import Callable, Mapping

from torch import Tensor

from framework import hookimpl
from framework_plugins.criteria.flow import grasp, synflow
from framework_plugins.criteria.gradients import fisher, snip, taylor
from framework_plugins.criteria.norms import slimming
from framework_plugins.criteria.weights import lamp, magnitude, random


@hookimpl
def register_criteria() -> Mapping[str, Callable[..., Tensor | dict[str, Tensor]]]:
    return {
        "fisher": fisher,
        "grasp": grasp,
        "lamp": lamp,
        "magnitude": magnitude,
        "random": random,
        "slimming": slimming,
        "snip": snip,
        "synflow": synflow,
        "taylor": taylor,
    }
