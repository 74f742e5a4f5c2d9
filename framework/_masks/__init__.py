"""Masks, and the weights that they are counted over.

A mask is a bool tensor of its parameter's shape. In `Masks` of *pruning*, ``True`` says that the weight may be
non-zero; in those of *freezing*, ``True`` says that the element is held.
"""

from framework._masks.algebra import Masks, check_masks, flags_by_tensor, lowest, named_tensors, select
from framework._masks.order import eval_mode, forward_order, used
from framework._masks.weights import (
    candidates,
    computed_values,
    computed_weights,
    embeddings,
    held_fraction,
    layer_name,
    prunable,
    sparsity,
)

__all__ = [
    "Masks",
    "candidates",
    "check_masks",
    "computed_values",
    "computed_weights",
    "embeddings",
    "eval_mode",
    "flags_by_tensor",
    "forward_order",
    "held_fraction",
    "layer_name",
    "lowest",
    "named_tensors",
    "prunable",
    "select",
    "sparsity",
    "used",
]
