"""Sparsifiers: they change masks while a stage trains."""

from collections.abc import Callable, Mapping

from framework import Sparsifier, hookimpl
from framework_plugins.sparsifiers.gradual import Gradual
from framework_plugins.sparsifiers.regrow import SET, RigL


@hookimpl
def register_sparsifiers() -> Mapping[str, Callable[..., Sparsifier]]:
    return {"gradual": Gradual, "rigl": RigL, "set": SET}
