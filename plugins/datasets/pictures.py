"""How the file of an image becomes pixels, wherever it lies."""

from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

# By what is in it, whatever it is called: Pillow can read more, and starts other programs for some of that.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
Mode = Literal["RGB", "L"]


def pixels(file: Path | IO[bytes], size: int | None, mode: Mode = "RGB") -> tuple[NDArray[np.uint8], bool]:
    """An image as uint8 (channels, height, width), and whether it has more frames than this one.

    Args:
        file: the image, as a file or as what is in one.
        size: of a side, to which the largest square at the centre is resized; None leaves the image as large as it is.
        mode: ``RGB``, or ``L`` for one channel of grey.
    """
    from PIL import Image, ImageOps

    with Image.open(file, formats=_FORMATS) as opened:
        # Cameras put a preview beside a photograph.
        animated = opened.format != "MPO" and getattr(opened, "is_animated", False)
        ImageOps.exif_transpose(opened, in_place=True)  # or else it copies the pixels
        image = _in_8_bits(opened, opened.format, mode)
        if size is not None:
            side = min(image.size)
            left, top = ((length - side) // 2 for length in image.size)
            box = (left, top, left + side, top + side)
            image = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
        found = np.asarray(image)
        return found[np.newaxis] if mode == "L" else found.transpose(2, 0, 1), animated


def _in_8_bits(image: "Image.Image", kind: str | None, mode: Mode) -> "Image.Image":
    """In 8 bits. Pillow alone would cut 16 bits off at 255, and show what is transparent.

    Raises:
        ValueError: its pixels have more than 16 bits.
    """
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert(mode)
    if image.mode in ("I", "F"):
        raise ValueError("its pixels have 32 bits, and what range they have is not known: save it with 8 or 16")
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB").convert(mode)
    return image if image.mode == mode else image.convert(mode)
