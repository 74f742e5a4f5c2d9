"""What a network consists of, and what its zeros could save."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from framework._masks import eval_mode, prunable

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

TOTALS = ("parameters", "nonzero", "flops", "flops_effective", "dead_filters", "bytes")


@dataclass(frozen=True)
class Layer:
    """A prunable weight of a network.

    Attributes:
        name: of the parameter.
        weights: how many it has.
        zeros: how many of them are exactly 0.
        filters: how many output channels, or rows, it has.
        dead_filters: how many of them have no other weight than 0; a bias may still make their output a constant.
        flops: of its operations on one image, as if no weight were 0.
    """

    name: str
    weights: int
    zeros: int
    filters: int
    dead_filters: int
    flops: int

    @property
    def flops_effective(self) -> float:
        """Without those on zeros."""
        return self.flops * (self.weights - self.zeros) / max(1, self.weights)


@dataclass(frozen=True)
class Anatomy:
    """What a network consists of.

    One multiply-add counts as 2 FLOPs. What `torch.utils.flop_counter` has a formula for is counted: convolutions,
    matrix products and attention.

    Attributes:
        parameters: how many numbers it learns.
        nonzero: how many of them are not 0.
        bytes: of its state dict.
        flops: of a forward pass of one image, as if no weight were 0; None if it fails where it is counted.
        layers: the prunable weights, in the order in which they are used.
    """

    parameters: int
    nonzero: int
    bytes: int
    flops: int | None
    layers: Sequence[Layer]

    @property
    def flops_effective(self) -> float | None:
        """The FLOPs without those on zero weights; None where `flops` is."""
        if self.flops is None:
            return None
        return self.flops - sum(layer.flops - layer.flops_effective for layer in self.layers)

    @property
    def dead_filters(self) -> int:
        """The number of dead filters of all layers."""
        return sum(layer.dead_filters for layer in self.layers)

    def metrics(self) -> dict[str, float]:
        """As metrics: ``model/parameters``, …, without those that are not known."""
        known = {name: getattr(self, name) for name in TOTALS}
        return {f"model/{name}": float(value) for name, value in known.items() if value is not None}


def anatomy(model: nn.Module, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """What a network consists of, as the metrics of a run.

    Args:
        model: the network, which is left as it is.
        shape: of one input, such as (channels, height, width).
        dtype: of inputs; numbers with a point are of that of the weights.

    Returns:
        ``model/parameters``, ``model/nonzero``, ``model/flops``, ``model/flops_effective``, ``model/dead_filters`` and
        ``model/bytes``; see `Anatomy`. Without the two of FLOPs if a forward pass fails where they are counted.
    """
    weights = prunable(model)
    with eval_mode(model):  # an exported network refuses to be put into a mode
        return dissect(model, weights, shape, dtype).metrics()


def dissect(
    model: nn.Module, weights: Mapping[str, Tensor], shape: Sequence[int], dtype: torch.dtype = torch.float32
) -> Anatomy:
    """What a network consists of; it may be an exported one, whose layers are no modules any more.

    Args:
        model: the network, as it evaluates; it is left as it is.
        weights: its prunable weights by name.
        shape: of one input, such as (channels, height, width).
        dtype: of inputs, see `anatomy`.
    """
    flops, by_weight = _count(model, weights, shape, dtype)
    layers = [_layer(name, weights[name].detach(), by_weight) for name in {**by_weight.flops, **weights}]
    others = [p for p in model.parameters() if not any(p is weight for weight in weights.values())]
    tensors = [value for value in model.state_dict().values() if isinstance(value, Tensor)]
    return Anatomy(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        nonzero=sum(layer.weights - layer.zeros for layer in layers) + sum(int(torch.count_nonzero(p)) for p in others),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in tensors),
        flops=flops,
        layers=layers,
    )


def _count(
    model: nn.Module, weights: Mapping[str, Tensor], shape: Sequence[int], dtype: torch.dtype
) -> tuple[int | None, "_ByWeight"]:
    """The FLOPs of a forward pass, and which weights they are on; None if it fails."""
    from torch.utils.flop_counter import FlopCounterMode  # which imports triton

    first = next(model.parameters())
    dtype = first.dtype if dtype.is_floating_point else dtype
    inputs = torch.zeros(1, *shape, dtype=dtype, device=first.device)
    # First with gradients: without them, attention takes a path that the counter has no formula for. But a network
    # that goes by way of NumPy evaluates only without them.
    for learning in (True, False):
        counter = FlopCounterMode(display=False)
        by_weight = _ByWeight(weights, counter)
        try:
            with torch.set_grad_enabled(learning), counter, by_weight:
                model(inputs)
            return counter.get_total_flops(), by_weight
        except Exception:  # whatever a network can raise: its weights can be counted all the same
            by_weight = _ByWeight({}, counter)
    return None, by_weight


class _ByWeight(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Says which weight each operation is on: one that reads any part of its memory."""

    def __init__(self, weights: Mapping[str, Tensor], counter: "FlopCounterMode") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: dict[str, int] = {}
        self.groups: dict[str, int] = {}  # of the weights of transposed convolutions
        self._counter = counter
        self._places = {
            name: range(weight.data_ptr(), weight.data_ptr() + weight.numel() * weight.element_size())
            for name, weight in weights.items()
        }

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = self._counter.get_total_flops()
        result = func(*args, **(kwargs or {}))  # the counter's mode is around this one
        flops = self._counter.get_total_flops() - before
        addresses = [arg.data_ptr() for arg in args if isinstance(arg, Tensor)] if flops else []
        for name, place in self._places.items():
            if any(address in place for address in addresses):
                self.flops[name] = self.flops.get(name, 0) + flops
                if func is torch.ops.aten.convolution.default and args[6]:
                    self.groups[name] = args[8]
                break
        return result


def _layer(name: str, weight: Tensor, by_weight: _ByWeight) -> Layer:
    rows = weight.flatten(1)
    if name in by_weight.groups:
        # A transposed convolution's weight is (in, out / groups, …).
        rows = weight.reshape(by_weight.groups[name], -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1).flatten(1)
    others = torch.count_nonzero(rows, dim=1)  # all that there is to count of it, in one pass
    return Layer(
        name=name,
        weights=weight.numel(),
        zeros=weight.numel() - int(others.sum()),
        filters=len(rows),
        dead_filters=int((others == 0).sum()),
        flops=by_weight.flops.get(name, 0),
    )
