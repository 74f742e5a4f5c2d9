"""A pruning criterion: a function of a layer's weight to a score per element; the lowest are pruned."""

from collections.abc import Callable, Mapping

import torch
from framework import hookimpl
from torch import Tensor


def relative_magnitude(weight: Tensor) -> Tensor:
    """Magnitude, relative to the layer's mean: a layer whose weights are all small is not emptied before the others.

    Args:
        weight: of one layer, any shape. A criterion may also ask for ``gradient`` (of the same shape) and
            ``generator`` (for random numbers).

    Returns:
        A score for each element.
    """
    magnitude = weight.abs()
    return magnitude / magnitude.mean().clamp(min=torch.finfo(weight.dtype).tiny)


@hookimpl
def register_criteria() -> Mapping[str, Callable[..., Tensor]]:
    """The criteria of this package, by the names that specs use."""
    return {"a_plugin": relative_magnitude}
