"""Tensors as arrays of bytes, and back, bit for bit and with their memory layout.

Masks are kept as bits (`numpy.packbits`). A tensor with many zeros, such as a masked weight or the optimizer's state of
one, is kept without them: where the others are, as bits, and their values in order. What counts as zero is one whose
bits are all 0, so that -0.0 and NaN come back as they were.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Annotated, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

Bytes: TypeAlias = NDArray[np.uint8]
Count: TypeAlias = Annotated[int, Field(ge=0)]

# As the safetensors format calls them.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_SMALL = 1024  # elements: a smaller tensor is kept with its zeros


@dataclass(frozen=True)
class Blob:
    """Bytes in a tensor file.

    Attributes:
        file: its name.
        start: where in the file they begin.
        size: how many.
        digest: their sha256, hex.
    """

    file: str
    start: Count
    size: Count
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Entry:
    """How a tensor is stored.

    Attributes:
        dtype: as the safetensors format calls it.
        shape: of the tensor.
        strides: of one that is not laid out row by row, in elements.
        kind: ``plain``: one blob of all elements, row by row. ``bits``: one blob of a bit for each. ``sparse``: by
            turns a bit for each element, and the values of those whose bit is 1; none has a 1 in two of them.
        blobs: what it is made of.
        digest: of a sparse tensor's values, in the order of their places: sha256, hex.
    """

    dtype: str
    shape: tuple[Count, ...]
    strides: tuple[Count, ...] | None
    kind: Literal["plain", "bits", "sparse"]
    blobs: tuple[Blob, ...]
    digest: str = ""

    @property
    def count(self) -> int:
        """How many elements the tensor has."""
        return prod(self.shape)


def describe_tensor(name: str, tensor: Tensor) -> tuple[Entry, Bytes]:
    """Take a tensor to the CPU.

    Returns:
        Its dtype, shape and strides, as a plain entry without blobs; and its bytes, row by row.

    Raises:
        TypeError: its dtype or layout cannot be stored.
    """
    if tensor.layout != torch.strided:
        raise TypeError(f"the tensor {name!r} cannot be stored: its layout is {tensor.layout}")
    if tensor.dtype not in _NAMES:
        raise TypeError(f"tensors of {tensor.dtype} cannot be stored")
    dense = tensor.detach().cpu()
    if dense.numel() and not _fills_memory(dense.shape, dense.stride()):
        dense = dense.clone()
    # Layouts such as channels_last choose other kernels, whose results differ in the last bits.
    usual = dense.stride() == torch.empty(dense.shape, device="meta").stride()
    entry = Entry(_NAMES[tensor.dtype], tuple(dense.shape), None if usual else dense.stride(), "plain", ())
    if not entry.count:
        return entry, np.empty(0, np.uint8)
    rows = dense.resolve_conj().resolve_neg().contiguous().reshape(-1)
    return entry, rows.view(torch.uint8).numpy()


def nonzero(entry: Entry, content: Bytes) -> NDArray[np.bool_] | None:
    """Tell which elements of a tensor are not zero, bit by bit; None of those that are kept with all zeros."""
    if DTYPES[entry.dtype].itemsize == 1 or entry.count < _SMALL:
        return None
    places: NDArray[np.bool_] = elements(entry, content) != 0
    return places


def elements(entry: Entry, content: Bytes) -> NDArray[np.unsignedinteger]:
    """The elements of a tensor as whole numbers of their size."""
    return content.view(f"u{DTYPES[entry.dtype].itemsize}")


def bits(places: NDArray[np.bool_] | Bytes) -> Bytes:
    """One bit for each element; the last byte is filled up with 0."""
    return np.packbits(places)


def unbits(packed: Bytes, count: int) -> NDArray[np.bool_]:
    """What `bits` has packed.

    Raises:
        ValueError: it is of another number of elements.
    """
    if len(packed) != -(-count // 8):
        raise ValueError(f"{len(packed)} bytes are no bits of {count} elements")
    return np.unpackbits(packed, count=count).view(np.bool_)


def decode(entry: Entry, read: Callable[[Blob], Bytes]) -> Tensor:
    """Make a tensor out of its blobs, in memory of its own.

    Raises:
        ValueError: the entry fits neither them nor itself; nothing is allocated that they could not fill.
    """
    dtype, blobs = DTYPES.get(entry.dtype), [read(blob) for blob in entry.blobs]
    if dtype is None or (len(blobs) != 1 and (entry.kind != "sparse" or len(blobs) % 2)):
        raise ValueError("it is stored in a way that there is not")
    if entry.kind == "plain":
        content = blobs[0].copy()
        if len(content) != entry.count * dtype.itemsize:
            raise ValueError(f"{len(content)} bytes are no {entry.count} elements")
    elif entry.kind == "bits":
        content = unbits(blobs[0], entry.count).view(np.uint8)
    else:
        content = _with_zeros(entry.count, dtype.itemsize, blobs)
    if not entry.count:
        return torch.empty(entry.shape, dtype=dtype)
    plain = torch.from_numpy(content).view(dtype).reshape(entry.shape)
    if entry.strides is None:
        return plain
    if not _fills_memory(entry.shape, entry.strides):
        raise ValueError("it would not fill its memory")
    return torch.empty_strided(entry.shape, entry.strides, dtype=dtype).copy_(plain)


def _with_zeros(count: int, width: int, blobs: list[Bytes]) -> Bytes:
    parts = [(unbits(places, count), values) for places, values in zip(blobs[::2], blobs[1::2], strict=True)]
    whole = np.zeros(count, f"u{width}")
    for places, values in parts:
        whole[places] = values.view(whole.dtype)
    return whole.view(np.uint8)


def _fills_memory(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Tell whether each element has a place of its own, and no place is left over."""
    expected = 1
    for stride, size in sorted((stride, size) for size, stride in zip(shape, strides, strict=True) if size > 1):
        if stride != expected:
            return False
        expected *= size
    return True
