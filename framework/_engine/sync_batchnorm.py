"""Batch normalisation by the statistics of a batch whose rows are split among processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from framework._ranks import Share, summed


@contextmanager
def synchronised(model: nn.Module, share: Share, wanted: bool) -> Iterator[None]:
    """Let batch normalisation in train mode compute by the statistics of all processes' rows within the context.

    Torch's own SyncBatchNorm runs on GPUs only, and takes the place of modules, which a stage is not to change. This
    one runs the same on CPUs and GPUs, so that what is tested on the one holds for the other.

    Args:
        model: has the layers.
        share: of the batch that this process computes with.
        wanted: whether to do so at all.
    """
    found = [m for m in model.modules() if wanted and isinstance(m, _BatchNorm) and m.training]
    for module in found:
        module.forward = partial(_forward, module, counted=share.counted > 0)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in found:
            del module.forward


def _forward(module: _BatchNorm, inputs: Tensor, *, counted: bool) -> Tensor:
    module._check_input_dim(inputs)  # type: ignore[no-untyped-call]
    dims = [d for d in range(inputs.dim()) if d != 1]
    shape = [-1 if d == 1 else 1 for d in range(inputs.dim())]
    values = inputs.float() if inputs.dtype in (torch.float16, torch.bfloat16) else inputs
    count = values.new_full((1,), values.numel() / values.shape[1]) * counted
    # In two passes, as the mean of the squares less the square of the mean loses what is small beside the mean.
    sums = _total(torch.cat([values.sum(dims) * counted, count]))
    total = sums[-1].detach()
    mean = sums[:-1] / total
    centred = values - mean.view(shape)
    variance = _total(centred.square().sum(dims) * counted) / total
    _learn(module, mean.detach(), variance.detach() * (total / (total - 1)))
    found: Tensor = centred * torch.rsqrt(variance + module.eps).view(shape)
    if module.weight is not None:
        found = found * module.weight.view(shape)
    if module.bias is not None:
        found = found + module.bias.view(shape)
    return found.to(inputs.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes; the gradients of all their losses go back to each of them."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return summed(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return summed(gradients[0])


def _total(tensor: Tensor) -> Tensor:
    return _Sum.apply(tensor)  # type: ignore[no-any-return]


@torch.no_grad()
def _learn(module: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Move the running statistics as torch's own layer does."""
    if module.running_mean is None or module.running_var is None:
        return
    if module.num_batches_tracked is not None:
        module.num_batches_tracked.add_(1)
    momentum = 1 / float(module.num_batches_tracked or 1) if module.momentum is None else module.momentum
    module.running_mean.lerp_(mean.to(module.running_mean), momentum)
    module.running_var.lerp_(variance.to(module.running_var), momentum)
