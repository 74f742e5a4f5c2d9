"""Masks as the file that a run keeps: a bit for each weight."""

import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval
from pydantic import TypeAdapter

from framework._errors import DataError

if TYPE_CHECKING:
    from framework._masks import Masks

MASKS = "masks.safetensors"
_SHAPES = "shapes"
_Shapes = dict[str, list[Annotated[int, Interval(ge=0)]]]


def encode_masks(masks: "Masks") -> bytes:
    """The content of a safetensors file: each mask as uint8, eight elements a byte, the first in the highest bit.

    Args:
        masks: on any device. Their shapes are in the file's metadata, as JSON.
    """
    import numpy as np
    import torch
    from safetensors.torch import save

    packed = {name: torch.from_numpy(np.packbits(mask.cpu().numpy())) for name, mask in masks.items()}
    return save(packed, {_SHAPES: json.dumps({name: list(mask.shape) for name, mask in masks.items()})})


def decode_masks(content: bytes) -> "Masks":
    """The masks of a file that `encode_masks` has made, on the CPU.

    Raises:
        DataError: it is no such file.
    """
    import numpy as np
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        # The library reads metadata from files only.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, MASKS)
            path.write_bytes(content)
            with safe_open(path, "pt") as file:
                shapes = TypeAdapter(_Shapes).validate_json((file.metadata() or {})[_SHAPES], strict=True)
                packed = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{MASKS} is damaged: {error}") from error
    masks = {}
    for name, shape in shapes.items():
        count, bits = math.prod(shape), packed.get(name)
        if bits is None or bits.dtype != torch.uint8 or bits.shape != (-(-count // 8),):
            raise DataError(f"{MASKS} is damaged: it has no bits for the {count} weights of {name!r}")
        masks[name] = torch.from_numpy(np.unpackbits(bits.numpy(), count=count).astype(bool).reshape(shape))
    return masks
