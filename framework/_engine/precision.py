"""The number format that a forward pass computes in."""

from contextlib import AbstractContextManager, nullcontext
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
