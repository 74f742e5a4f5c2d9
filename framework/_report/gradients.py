"""Which weights no gradient ever reaches, whatever is learned."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from framework._masks import eval_mode, layer_name, prunable

NO_GRADIENT = "no_gradient"
_DRAWS = 5  # at most; two are enough unless a network chooses by values in its own way
_TABLE = 65_537  # random numbers, repeated in all weights: a prime, so that rows differ
_CENTRING = (nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
_AVERAGES = {
    getattr(functional, f"{adaptive}max_pool{dimensions}d"): getattr(functional, f"{adaptive}avg_pool{dimensions}d")
    for adaptive in ("", "adaptive_")
    for dimensions in (1, 2, 3)
}
_UNDILATED = (1, (1,), (1, 1), (1, 1, 1))


def no_gradient(model: nn.Module, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> dict[str, float]:
    """The fraction of the weights that no gradient ever reaches, as the metrics of a run.

    Either they are not read at this image size, as the elements of a kernel that lie on padding wherever it is applied;
    or what they change does not reach the output, as in a layer that is not used. Such weights change by nothing but
    weight decay, and are 0 for good once they are pruned. It is a matter of the architecture and the image size: what
    is learned, pruned or frozen changes nothing, nor do units that happen to be inactive.

    Measured is the gradient of a random combination of the outputs, in eval mode, with other values in the network, so
    that nothing blocks it and nothing cancels out: positive random weights and a positive random image, no biases,
    normalisation that leaves its input as it is, and averages in the place of maxima, as any input may be the largest.
    The weights whose gradient is exactly 0 count if it is so again with other random numbers.

    Args:
        model: the network, which is left as it is.
        shape: of one input, such as (channels, height, width).
        dtype: of inputs; tokens are all 0.

    Returns:
        ``no_gradient``, of all prunable weights, and ``no_gradient/<layer>`` of each layer that has such weights;
        nothing without prunable weights.
    """
    sizes = {name: weight.numel() for name, weight in prunable(model).items()}
    if not sizes:
        return {}
    generator = torch.Generator().manual_seed(0)
    with eval_mode(model), torch.enable_grad():
        missed = _missed(model, sizes, shape, dtype, generator)
        for _ in range(_DRAWS - 1):
            found = _missed(model, missed, shape, dtype, generator)
            both = {name: mask & found[name] for name, mask in missed.items() if name in found}
            changed = any(name not in both or not torch.equal(mask, both[name]) for name, mask in missed.items())
            missed = both
            if not changed:
                break
    counts = {name: int(mask.sum()) for name, mask in missed.items()}
    by_layer = {f"{NO_GRADIENT}/{layer_name(name)}": count / sizes[name] for name, count in counts.items()}
    return {NO_GRADIENT: sum(counts.values()) / sum(sizes.values()), **by_layer}


def _missed(
    model: nn.Module, names: Collection[str], shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator
) -> dict[str, Tensor]:
    """Where the gradient is 0 for one draw of random numbers, of those of these weights in which it is so anywhere."""
    if not names:
        return {}
    values = _values(model, torch.rand(_TABLE, generator=generator) + 0.5)
    weights = [values[name].requires_grad_() for name in names]
    inputs = (torch.rand(1, *shape, generator=generator) + 0.1).to(dtype)
    with _AveragesForMaxima():
        outputs = tree_leaves(functional_call(model, values, (inputs,)))
    mixed = sum((output * torch.rand(output.shape, generator=generator)).sum() for output in outputs)
    gradients = torch.autograd.grad(mixed, weights, allow_unused=True) if mixed.requires_grad else [None] * len(names)
    found = {}
    for name, gradient in zip(names, gradients, strict=True):
        if gradient is None:
            found[name] = torch.ones(values[name].shape, dtype=torch.bool)
        elif torch.count_nonzero(gradient) < gradient.numel():
            found[name] = gradient == 0
    return found


def _values(model: nn.Module, table: Tensor) -> dict[str, Tensor]:
    """What takes the place of parameters and buffers: an output is half the mean of its inputs, roughly.

    Half, so that sums of residual branches stay where bounded activation functions are not flat. What centres its
    input gets a bias that makes it positive again.
    """
    modules, values = dict(model.named_modules()), dict[str, Tensor]()
    for name, parameter in model.named_parameters():
        layer, _, last = name.rpartition(".")
        centring, size = isinstance(modules[layer], _CENTRING), parameter.numel()
        if parameter.dim() > 1:
            repeated = table.repeat(-(-size // _TABLE))[:size].view(parameter.shape)
            values[name] = repeated.mul_(parameter.shape[0] / size / 2)
        else:
            number = float(centring) if "bias" in last else 0.1 if centring else 1.0
            values[name] = torch.full(parameter.shape, number)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            values[name] = torch.full(buffer.shape, float(name.endswith("var")))
        elif buffer.is_floating_point():
            values[name] = buffer.float()
    return values


class _AveragesForMaxima(TorchFunctionMode):
    """Averages where a network pools maxima: of which input that is, the values would decide."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _AVERAGES and kwargs.get("dilation", 1) in _UNDILATED and not kwargs.get("return_indices"):
            shared = {name: value for name, value in kwargs.items() if name not in ("dilation", "return_indices")}
            return _AVERAGES[func](*args, **shared)
        return func(*args, **kwargs)
