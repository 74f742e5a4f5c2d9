"""Tensors as the bytes of a safetensors file, and back, bit for bit and with their memory layout."""

import json
from collections.abc import Mapping

import torch
from safetensors.torch import load, save
from torch import Tensor

_STRIDES = "__strides__"  # of the tensors that are not laid out row by row: JSON, as a tensor of bytes


def encode(tensors: Mapping[str, Tensor]) -> bytes:
    """Write tensors as a safetensors file. Those that share memory are stored apart.

    Raises:
        TypeError: a tensor's dtype or layout cannot be stored.
    """
    plain, strides, seen = {}, {}, set()
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided:
            raise TypeError(f"the tensor {name!r} cannot be stored: its layout is {tensor.layout}")
        dense = tensor.detach().cpu()
        memory = dense.untyped_storage().data_ptr()
        if memory in seen or not dense.is_contiguous():
            dense = dense.clone()  # the format refuses shared memory; the order of the dimensions stays as it is
        seen.add(memory)
        plain[name] = dense.contiguous()
        if dense.stride() != _usual_strides(dense):
            strides[name] = dense.stride()
    # Layouts such as channels_last choose other kernels, whose results differ in the last bits.
    plain[_STRIDES] = torch.frombuffer(bytearray(json.dumps(strides).encode()), dtype=torch.uint8)
    try:
        return save(plain)
    except KeyError as error:
        raise TypeError(f"tensors of {error.args[0]} cannot be stored") from None


def decode(content: bytes) -> dict[str, Tensor]:
    """Read the tensors of a file that :func:`encode` has made; any other raises an exception of any kind."""
    tensors = load(content)
    for name, strides in json.loads(tensors.pop(_STRIDES).numpy().tobytes()).items():
        plain = tensors[name]
        reach = 1 + sum((size - 1) * stride for size, stride in zip(plain.shape, strides, strict=True))
        if min(strides, default=0) < 0 or (plain.numel() and reach != plain.numel()):
            raise ValueError(f"{name} would not fill its memory")
        tensors[name] = torch.empty_strided(plain.shape, strides, dtype=plain.dtype).copy_(plain)
    return tensors


def _usual_strides(tensor: Tensor) -> tuple[int, ...]:
    return torch.empty(tensor.shape, device="meta").stride()
