"""What layers have for each of their channels, and which layers cannot lose any."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from framework._channels.group import Role


def makes_filters(module: nn.Module) -> bool:
    """Whether it is of a kind of layer whose output channels may go."""
    return isinstance(module, nn.Linear | _ConvNd)


def role_of(module: nn.Module, out: bool) -> Role:
    """What a layer does with channels, at its output or at its input."""
    if not makes_filters(module):
        return "norm"
    return "out" if out or _is_depthwise(module) else "in"


def slices_of(module: nn.Module, role: Role) -> dict[str, int]:
    """The names of a layer's parameters that have a slice for each channel, the weight first, and its dimension."""
    if isinstance(module, _ConvTransposeNd) and not _is_depthwise(module):
        weight = 1 if role == "out" else 0
    else:
        weight = 1 if role == "in" else 0
    found = {"weight": weight} if role == "in" else {"weight": weight, "bias": 0}
    if isinstance(module, nn.PReLU):
        return {}  # its slopes matter to nothing else, and 0 is one like any other
    return {name: dim for name, dim in found.items() if module._parameters.get(name) is not None}


def why_not(module: nn.Module, name: str) -> str:
    """Why a layer cannot lose channels, whatever is around it; empty if it can."""
    called = f"{name} ({type(module).__name__})"
    if isinstance(module, nn.MultiheadAttention):
        return "attention splits its channels into heads"
    if isinstance(module, nn.LayerNorm | nn.GroupNorm):
        return f"{called} normalises its channels together"
    if isinstance(module, _ConvNd) and module.groups > 1 and not _is_depthwise(module):
        return f"{called} has groups of channels"
    if not isinstance(module, nn.Linear | _ConvNd | _BatchNorm | nn.PReLU):
        return f"Torch-Pruning cannot remove some channels of {called}"
    if module._parameters.get("weight") is None and getattr(module, "weight", None) is not None:
        return f"the weight of {called} is computed from other parameters"
    return ""


def _is_depthwise(module: nn.Module) -> bool:
    """Whether each channel goes through a filter of its own."""
    return isinstance(module, _ConvNd) and 1 < module.groups == module.in_channels == module.out_channels
