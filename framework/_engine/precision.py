"""The number format of the forward pass."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
"""The precision of the forward pass; ``auto`` is bfloat16 on GPUs that have it, and float32 elsewhere."""


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[Any]:
    """A context for the forward pass and the loss.

    Args:
        precision: ``bfloat16`` computes in it what is safe to; weights, gradients and optimizer state stay float32,
            so that masks and frozen elements stay exact. ``auto`` takes it on GPUs that have it.
        device: where the model is.
    """
    if precision == "auto":
        supported = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bfloat16" if supported else "float32"
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
