"""A network without the filters that are pruned whole."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from framework._channels import channel_groups, remove_channels, zero_channels
from framework._errors import DataError
from framework._masks import eval_mode

_IMAGES = 16
_MOST = 1e-5  # of the largest output, if that is above 1: float32 has seven digits


@dataclass(frozen=True)
class Compact:
    """A network without the filters that are pruned whole.

    Attributes:
        network: computes what the whole one does.
        filters: how many are gone; those that are tied count as one.
        kept: by name of a weight, why its filters cannot be removed, zeros or not.
        difference: the largest one of any output, on random inputs.
    """

    network: nn.Module
    filters: int
    kept: Mapping[str, str]
    difference: float


def compacted(model: nn.Module, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Compact:
    """Remove the filters of which nothing is left but zeros, with all that belongs to them.

    A layer that has lost all its filters keeps one.

    Args:
        model: the network, on the CPU; it is left as it is.
        shape: of one input, such as (channels, height, width).
        dtype: of inputs.

    Raises:
        DataError: there is no such filter, or the network would compute something else without them.
        StageError: Torch-Pruning is missing, or cannot follow the network.
    """
    groups, kept = channel_groups(model, shape, dtype)
    gone = zero_channels(model, groups)
    small = remove_channels(model, groups, gone)
    count = sum(int(channels.sum()) - bool(channels.all()) for channels in gone.values())
    if not count:
        raise DataError("no filter is pruned whole, with all that belongs to it, as prune: {granularity: filters} does")
    return Compact(small, count, kept, checked_difference(model, small, shape, dtype))


def checked_difference(
    network: nn.Module, other: nn.Module, shape: Sequence[int], dtype: torch.dtype = torch.float32
) -> float:
    """Return the largest difference between the outputs of two networks, on random inputs; of tokens, on zeros.

    Raises:
        DataError: it is above 1e-5, of the largest output if that is above 1.
    """
    inputs = torch.randn(_IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    inputs = inputs if dtype.is_floating_point else torch.zeros_like(inputs, dtype=dtype)
    expected, found = (_outputs(one, inputs) for one in (network, other))
    difference, largest = float((expected - found).abs().max()), float(expected.abs().max())
    if not difference <= _MOST * max(1.0, largest):  # so that NaN is one too
        raise DataError(f"without these filters outputs differ by {difference:.2g}; the largest is {largest:.3g}")
    return difference


def _outputs(network: nn.Module, inputs: Tensor) -> Tensor:
    # An exported network evaluates, and refuses to be put into a mode.
    with torch.no_grad(), nullcontext() if isinstance(network, torch.fx.GraphModule) else eval_mode(network):
        outputs: Tensor = network(inputs)
    return outputs
