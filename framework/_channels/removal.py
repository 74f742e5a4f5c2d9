"""Remove channels from a network, physically."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from framework._channels.group import ChannelGroup
from framework._errors import first_line

_TOLERANCE = 1e-4  # of the largest output, in float32 and with signals that may be small


def zero_channels(model: nn.Module, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
    """Find the channels of which every element is exactly 0, by name of their group: bool (count,), on the CPU."""
    zeros = {name: parameter == 0 for name, parameter in model.named_parameters(remove_duplicate=False)}
    return {group.name: group.every(zeros) for group in groups}


def remove_channels(model: nn.Module, groups: Sequence[ChannelGroup], gone: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a network without some of its channels.

    If all elements of these channels are 0, it computes the same. A group keeps its first channel if all are to go, as
    there is no layer without channels.

    Args:
        model: the network, which is left as it is.
        groups: of `channel_groups` for a network of the same architecture.
        gone: by name of a group which of its channels go, bool (count,), on the CPU.
    """
    copy = deepcopy(model)
    modules = dict(copy.named_modules(remove_duplicate=False))
    # Of all groups together: where a layer has channels of several, its places are counted over all of them.
    places: dict[tuple[str, Callable[[Any, list[int]], Any]], set[int]] = {}
    for group in groups:
        if group.name in gone:
            chosen = gone[group.name].clone()
            chosen[0] &= not chosen.all()
            for part in group.parts:
                places.setdefault((part.layer, part.remove), set()).update(part.places[chosen[part.channels]].tolist())
    for (layer, remove), found in places.items():
        if found:
            remove(modules[layer], sorted(found))
    return copy


def mask_channels(model: nn.Module, groups: Sequence[ChannelGroup], gone: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a network in which all elements of some channels are 0; the arguments are `remove_channels`'."""
    copy = deepcopy(model)
    parameters = dict(copy.named_parameters(remove_duplicate=False))
    marks = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in parameters.items()}
    for group in groups:
        if group.name in gone:
            group.mark(gone[group.name], marks)
    for name, parameter in parameters.items():
        parameter.detach().masked_fill_(marks[name], 0.0)
    return copy


def refuted(model: nn.Module, groups: Sequence[ChannelGroup], images: Tensor) -> dict[str, str]:
    """Try out whether a network without channels computes the same as one in which they are 0.

    Args:
        model: in eval mode, left as it is; in which every parameter has its part in the outputs.
        groups: each of them loses every second channel.
        images: a batch of inputs.

    Returns:
        By name of a group, why its channels cannot be removed; nothing of those that can.
    """
    if not groups or not (why := _difference(model, groups, images)):
        return {}
    if len(groups) == 1:
        return {groups[0].name: why}
    half = len(groups) // 2
    parts = refuted(model, groups[:half], images) | refuted(model, groups[half:], images)
    # If all is well in each half, what goes wrong is between them.
    return parts or {group.name: f"together with other layers, {why}" for group in groups}


def _difference(model: nn.Module, groups: Sequence[ChannelGroup], images: Tensor) -> str:
    gone = {group.name: torch.arange(group.count) % 2 == 1 for group in groups}
    masked = mask_channels(model, groups, gone)
    try:
        pairs = zip(_outputs(masked, images), _outputs(remove_channels(masked, groups, gone), images), strict=True)
        same = all(
            a.shape == b.shape and bool((a - b).abs().max() <= _TOLERANCE * a.abs().max())
            for a, b in pairs
            if a.numel()
        )
    except Exception as error:  # whatever a network of other sizes can raise
        return f"without half of its channels the network fails ({type(error).__name__}: {first_line(error)})"
    return "" if same else "without half of its channels the network computes something else than with zeros in them"


def _outputs(model: nn.Module, images: Tensor) -> list[Tensor]:
    torch.manual_seed(0)  # some networks draw numbers when they evaluate too
    with torch.no_grad():
        return [output for output in tree_leaves(model(images)) if isinstance(output, Tensor)]
