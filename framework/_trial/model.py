"""The network that a trial begins with."""

import torch
from torch import nn

from framework._component import Catalog, build
from framework._errors import StageError
from framework._plan import TrialPlan
from framework._trial.data import Arrays


def build_model(plan: TrialPlan, catalog: Catalog, arrays: Arrays) -> nn.Module:
    """Build a trial's network in its initial state, on the CPU.

    Raises:
        StageError: it cannot be built for this data.
    """
    shape = arrays.splits["train"][0].shape[1:]
    torch.manual_seed(seed_of(plan.keys[0]))
    model = build(catalog, "model", plan.model)(shape=shape, classes=len(arrays.classes))
    if not isinstance(model, nn.Module):
        raise StageError(f"model {plan.model['name']!r} gave a {type(model).__name__}, not a torch.nn.Module")
    return model


def seed_of(key: str) -> int:
    """The seed that a stage key stands for: 63 bits, as many as torch takes."""
    return int(key[:16], 16) >> 1
