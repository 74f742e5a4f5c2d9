"""Optimizers: those of `torch.optim` that train with plain gradients, and Muon for whole networks."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from torch import optim

from framework import hookimpl
from framework_plugins.muon import Muon

# L-BFGS needs the loss of the whole set, SparseAdam needs sparse gradients.
_TORCH = (
    optim.ASGD,
    optim.Adadelta,
    optim.Adafactor,
    optim.Adagrad,
    optim.Adam,
    optim.AdamW,
    optim.Adamax,
    optim.NAdam,
    optim.RAdam,
    optim.RMSprop,
    optim.Rprop,
    optim.SGD,
)
# What cannot work here: a step is made without gradients of its own and not captured as a CUDA graph. What torch
# decides better: foreach, which is faster wherever it is possible, and excludes fused.
_LEFT_OUT = {"capturable", "differentiable", "foreach"}


def _offered(optimizer: type[optim.Optimizer]) -> Callable[..., optim.Optimizer]:
    """The optimizer with a signature, which gives the parameters in YAML, without what is left out."""

    @wraps(optimizer.__init__)
    def make(*args: Any, **kwargs: Any) -> optim.Optimizer:
        return optimizer(*args, **kwargs)

    signature = inspect.signature(optimizer)
    offered = [p for name, p in signature.parameters.items() if name not in _LEFT_OUT]
    make.__signature__ = signature.replace(parameters=offered)  # type: ignore[attr-defined]
    make.__name__, make.__doc__ = optimizer.__name__, optimizer.__doc__
    return make


@hookimpl
def register_optimizers() -> Mapping[str, Callable[..., optim.Optimizer]]:
    return {**{optimizer.__name__.lower(): _offered(optimizer) for optimizer in _TORCH}, "muon": Muon}
