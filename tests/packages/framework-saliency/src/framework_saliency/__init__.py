"""Connection sensitivity (SNIP, Lee et al. 2019, arXiv:1810.02340)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from framework import hookimpl


def saliency(weight: Tensor, gradient: Tensor, by_layer: bool = False) -> Tensor:
    """By how much the loss would change, to first order, if the weight were removed: ``|weight × gradient|``.

    The paper divides by the sum over all weights, which does not change their order; so this does not.

    Args:
        weight: of one layer, any shape.
        gradient: of the loss, of the same shape.
        by_layer: divide by the layer's sum, so that no layer goes before the others; useful at high amounts, which
            otherwise may leave a layer with no weight at all.
    """
    sensitivity = (weight * gradient).abs()
    return sensitivity / sensitivity.sum().clamp(min=torch.finfo(weight.dtype).tiny) if by_layer else sensitivity


@hookimpl
def register_criteria() -> Mapping[str, Callable[..., Tensor]]:
    return {"saliency": saliency}
