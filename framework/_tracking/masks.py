"""Masks as the file that a run keeps: a bit for each weight."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from framework._errors import DataError

if TYPE_CHECKING:
    from framework._masks import Masks

MASKS = "masks.safetensors"
_SHAPES = "shapes"


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
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        packed = load(content)
        masks = {}
        for name, shape in _shapes(content).items():
            count = int(np.prod(shape))
            if len(packed[name]) != -(-count // 8):
                raise ValueError(f"{name!r} has {len(packed[name])} bytes for {count} weights")
            bits = np.unpackbits(packed[name].numpy(), count=count)
            masks[name] = torch.from_numpy(bits.astype(bool).reshape(shape))
    except (SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"{MASKS} is damaged: {error}") from error
    return masks


def _shapes(content: bytes) -> Mapping[str, list[int]]:
    """What safetensors reads from files only."""
    length = int.from_bytes(content[:8], "little")
    shapes: Mapping[str, list[int]] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][_SHAPES])
    return shapes
