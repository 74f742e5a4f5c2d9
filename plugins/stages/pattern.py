"""N:M sparsity: of m weights in a row, n stay."""

import logging

import torch
from torch import Tensor
from torch.nn.modules.conv import _ConvTransposeNd

from framework import Masks, StageError, Trial
from framework_plugins.stages.granularity import Pattern


def divisible(trial: Trial, free: Masks, pattern: Pattern) -> list[str]:
    """The weights that a pattern can be put on; a note names the others, which stay as they are.

    Args:
        trial: has the network.
        free: what may be pruned, see `Trial.candidates`.
        pattern: n and m.

    Raises:
        StageError: there is none.
    """
    left_out = {}
    for name, mask in free.items():
        if (inputs := _along_inputs(trial, name, mask).shape[-1]) % pattern.m:
            left_out[name] = f"{inputs} inputs, no multiple of {pattern.m}"
        elif not mask.all():
            left_out[name] = "frozen"
    listed = "; ".join(f"{name.removesuffix('.weight')} ({why})" for name, why in left_out.items())
    found = [name for name in free if name not in left_out]
    if not found:
        raise StageError(f"no layer can have {pattern}: {listed}")
    if left_out:
        logging.getLogger("framework").warning("these layers stay as they are, without %s: %s", pattern, listed)
    return found


def keep_largest(trial: Trial, name: str, scores: Tensor, mask: Tensor, pattern: Pattern) -> Tensor:
    """Return the mask of a weight that keeps the n highest scores of each m; of equal ones the first go.

    Args:
        trial: has the network.
        name: of the weight.
        scores: of its shape.
        mask: of its shape; what is masked already goes first, and stays masked.
        pattern: n and m.
    """
    rows = _along_inputs(trial, name, scores.double().masked_fill(~mask, -torch.inf))
    groups = rows.reshape(*rows.shape[:-1], -1, pattern.m)
    order = groups.sort(stable=True).indices
    kept = torch.ones_like(groups, dtype=torch.bool)
    kept.scatter_(-1, order[..., : pattern.m - pattern.n], False)
    result = torch.empty_like(mask)
    _along_inputs(trial, name, result).copy_(kept.view(rows.shape))
    return result & mask


def _along_inputs(trial: Trial, name: str, tensor: Tensor) -> Tensor:
    """A view with the layer's inputs as the last dimension; a kernel's places each have inputs of their own."""
    module = trial.model.get_submodule(name.rpartition(".")[0])
    return tensor.movedim(0 if isinstance(module, _ConvTransposeNd) else 1, -1)
