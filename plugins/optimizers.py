"""Optimizers: those of `torch.optim` that train with plain gradients, as they are; and Muon for whole networks."""

from collections.abc import Callable, Mapping

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


@hookimpl
def register_optimizers() -> Mapping[str, Callable[..., optim.Optimizer]]:
    return {**{optimizer.__name__.lower(): optimizer for optimizer in _TORCH}, "muon": Muon}
