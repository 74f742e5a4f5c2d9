"""Tensors as the bytes of a safetensors file, and back, bit for bit and with their memory layout."""

import json
from collections.abc import Mapping

import torch
from safetensors.torch import load, save
from torch import Tensor

_STRIDES = "strides"


def encode(tensors: Mapping[str, Tensor]) -> bytes:
    """The content of a safetensors file. Tensors that share memory are stored apart.

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
    try:
        # Layouts such as channels_last choose other kernels, whose results differ in the last bits.
        return save(plain, {_STRIDES: json.dumps(strides)})
    except KeyError as error:
        raise TypeError(f"tensors of {error.args[0]} cannot be stored") from None


def decode(content: bytes) -> dict[str, Tensor]:
    """The tensors of a file that :func:`encode` has made; of another it raises whatever comes of that."""
    tensors = load(content)
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    for name, strides in json.loads(metadata[_STRIDES]).items():
        plain = tensors[name]
        reach = 1 + sum((size - 1) * stride for size, stride in zip(plain.shape, strides, strict=True))
        if min(strides, default=0) < 0 or (plain.numel() and reach != plain.numel()):
            raise ValueError(f"{name} would not fill its memory")
        tensors[name] = torch.empty_strided(plain.shape, strides, dtype=plain.dtype).copy_(plain)
    return tensors


def _usual_strides(tensor: Tensor) -> tuple[int, ...]:
    return torch.empty(tensor.shape, device="meta").stride()
