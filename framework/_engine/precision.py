"""The number format that is computed in."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["auto", "float32", "bfloat16", "float16"]
"""The number format of the forward pass; ``auto`` is bfloat16 on GPUs that have it, float16 on others, and float32 on
CPUs."""

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def mixed_precision(
    precision: Precision, device: torch.device
) -> tuple[AbstractContextManager[Any], torch.amp.GradScaler]:
    """Make a context for the forward pass and the loss, and what scales the loss so that no gradient vanishes.

    What is safe to is computed in the number format; weights, gradients and optimizer state stay float32, so that masks
    and frozen elements stay exact. Only float16 needs the scaler, which does nothing otherwise.

    Args:
        precision: the number format.
        device: where the model is.
    """
    if precision == "auto":
        supported = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bfloat16" if supported else "float16" if device.type == "cuda" else "float32"
    context = nullcontext() if precision == "float32" else torch.autocast(device.type, dtype=_DTYPES[precision])
    return context, torch.amp.GradScaler(device.type, enabled=precision == "float16")


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
