"""What makes training faster and is kept by torch for the whole process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_MOST_GRAPHS = 64


def compiled(model: nn.Module) -> Callable[[Any], Any]:
    """Compile a network's forward pass with `torch.compile`; the network may change its mode and its weights."""
    # Training and evaluation, a smaller last batch and every choice of frozen layers have a graph of their own. Torch
    # counts those of all trials that a process has run, and would compute what comes after the eighth uncompiled.
    torch._dynamo.config.recompile_limit = max(_MOST_GRAPHS, torch._dynamo.config.recompile_limit)
    return torch.compile(model)


@contextmanager
def gpu_flags(*, tf32: bool = False, cudnn_benchmark: bool = False) -> Iterator[None]:
    """Set in the context what torch keeps for the whole process, and put it back, so that nothing else inherits it.

    By itself, torch computes matrix products in float32, and convolutions in TF32 on GPUs that have it.

    Args:
        tf32: let GPUs round the factors of convolutions and matrix products in float32 to TF32, which has 10 bits after
            the point instead of 23; else float32 is float32.
        cudnn_benchmark: let cuDNN try several algorithms for each shape of a convolution, and take the fastest.
    """
    before, benchmark = [flag.fp32_precision for flag in _float32_flags()], torch.backends.cudnn.benchmark
    _set_float32(["tf32" if tf32 else "ieee"] * 3 + ["ieee"])
    torch.backends.cudnn.benchmark = cudnn_benchmark
    try:
        yield
    finally:
        _set_float32(before)
        torch.backends.cudnn.benchmark = benchmark


def _float32_flags() -> tuple[Any, ...]:
    """What has a ``fp32_precision`` of its own."""
    backends: Any = torch.backends
    return backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.matmul


def _set_float32(precisions: list[str]) -> None:
    # Torch has older flags for the same, and raises an error when these are read and say something else.
    conv, _, matmul, on_cpu = precisions
    torch.backends.cudnn.allow_tf32 = conv == "tf32"
    torch.set_float32_matmul_precision("medium" if on_cpu == "bf16" else "high" if matmul == "tf32" else "highest")
    for flag, precision in zip(_float32_flags(), precisions, strict=True):
        flag.fp32_precision = precision
