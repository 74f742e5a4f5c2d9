"""Choose weights, and compute with masks."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from framework._errors import StageError, nearest

Masks: TypeAlias = dict[str, Tensor]
"""Bool tensors by parameter name, of its shape. In pruning, True = may be non-zero; in freezing, True = held."""


def lowest(scores: Tensor, candidates: Tensor, count: int) -> Tensor:
    """Mark the ``count`` candidates with the lowest scores, the first ones among equals.

    Args:
        scores: (N,), any number type without NaN.
        candidates: bool, (N,).
        count: at most the number of candidates.

    Returns:
        bool, (N,), with exactly ``count`` True.
    """
    if count == 0:
        return torch.zeros_like(candidates)
    # Indexing by a mask takes ten times as long as `masked_select`: it makes a list of positions first.
    threshold = _kth_smallest(scores.masked_select(candidates), count)
    marked = candidates & (scores < threshold)
    ties = (candidates & (scores == threshold)).nonzero().squeeze(1)
    marked[ties[: count - int(marked.count_nonzero())]] = True
    return marked


def _kth_smallest(values: Tensor, count: int) -> Tensor:
    if values.device.type != "cpu" or values.dtype == torch.bfloat16:  # which NumPy does not know
        return values.kthvalue(count).values
    # On a CPU `kthvalue` takes many times as long, as it finds the position too.
    return torch.from_numpy(np.partition(values.detach().numpy(), count - 1)[count - 1 : count])[0]


def flags_by_tensor(model: nn.Module, flags: Mapping[str, Tensor]) -> dict[Tensor, Tensor]:
    """Combine the flags of a tensor that has several names, as tied weights do: those of any name count.

    Args:
        model: the network.
        flags: bool, by name of a parameter or buffer; a name that the network does not have flags nothing.
    """
    tensors, found = named_tensors(model), dict[Tensor, Tensor]()
    for name, flag in flags.items():
        if name in tensors:
            tensor = tensors[name]
            found[tensor] = found[tensor] | flag if tensor in found else flag
    return found


def check_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Check that masks, of pruning or of freezing, fit the network.

    Raises:
        StageError: the network has no tensor of such a name and shape, or a mask is not bool.
    """
    tensors = named_tensors(model)
    for name, mask in masks.items():
        if name not in tensors:
            raise StageError(f"there is no parameter or buffer {name!r} to mask or freeze ({nearest(name, tensors)})")
        if mask.dtype != torch.bool or mask.shape != tensors[name].shape:
            raise StageError(
                f"the mask of {name} must be bool of shape {tuple(tensors[name].shape)}, "
                f"not {str(mask.dtype).removeprefix('torch.')} of shape {tuple(mask.shape)}"
            )


def named_tensors(model: nn.Module) -> dict[str, Tensor]:
    """List all parameters and then all buffers by name; shared modules and tied weights stand under all their names."""
    return {
        **dict(model.named_parameters(remove_duplicate=False)),
        **dict(model.named_buffers(remove_duplicate=False)),
    }


def select(names: Sequence[str], patterns: Sequence[str] | None, exclude: Sequence[str] = ()) -> list[str]:
    """Select the parameters whose name, or whose layer's name or a parent's, matches one of the patterns.

    Args:
        names: parameter names.
        patterns: shell-style patterns, such as ``layer1.*`` or ``fc``; None selects all.
        exclude: patterns to leave out.

    Raises:
        StageError: a pattern matches nothing, or nothing is left.
    """

    def matching(pattern: str) -> set[str]:
        found = {name for name in names if any(fnmatchcase(part, pattern) for part in _parents(name))}
        if not found:
            layers = {part for name in names for part in _parents(name)}
            raise StageError(f"no layer matches {pattern!r} ({nearest(pattern, layers)})")
        return found

    kept = set(names) if patterns is None else {n for pattern in patterns for n in matching(pattern)}
    kept -= {n for pattern in exclude for n in matching(pattern)}
    if not kept:
        raise StageError("no layer is left to choose from: the patterns select none")
    return [name for name in names if name in kept]


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]
