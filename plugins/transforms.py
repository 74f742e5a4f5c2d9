"""Transforms of images: those of `torchvision.transforms.v2` that take an image alone.

They are imported when a spec names one, as torchvision takes seconds to load.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from torch import nn

from framework import Interval, hookimpl

_TORCHVISION = """\
AugMix AutoAugment CenterCrop ColorJitter ElasticTransform GaussianBlur GaussianNoise Grayscale Pad RandAugment
RandomAdjustSharpness RandomAutocontrast RandomChannelPermutation RandomCrop RandomEqualize RandomErasing
RandomGrayscale RandomHorizontalFlip RandomInvert RandomPerspective RandomPhotometricDistort RandomPosterize
RandomResizedCrop RandomSolarize RandomVerticalFlip Resize TrivialAugmentWide
"""

Interpolation = Literal["nearest", "bilinear"]
Range = tuple[float, float]


def rotation(
    degrees: float | Range,
    interpolation: Interpolation = "nearest",
    expand: bool = False,
    fill: float | tuple[float, ...] = 0,
) -> nn.Module:
    """Rotate an image about its centre (torchvision's ``RandomRotation``).

    Args:
        degrees: by how much at most, to either side; or a range.
        interpolation: between pixels.
        expand: make the image as large as it has to be to hold all of the rotated one.
        fill: the pixels outside the image, of all channels or of each.

    Example:
        data: {name: npy, root: arrays, loader: {transforms: [{name: RandomRotation, degrees: 10}]}}
    """
    from torchvision.transforms import InterpolationMode, v2

    return v2.RandomRotation(degrees, InterpolationMode(interpolation), expand, fill=fill)


def affine(
    degrees: float | Range,
    translate: Range | None = None,
    scale: Range | None = None,
    shear: Annotated[float, Interval(ge=0)] | Range | None = None,
    interpolation: Interpolation = "nearest",
    fill: float | tuple[float, ...] = 0,
) -> nn.Module:
    """Rotate, shift, scale and shear an image, and keep its centre in the centre (torchvision's ``RandomAffine``).

    Args:
        degrees: by how much at most to rotate, to either side; or a range.
        translate: by which fractions of the width and of the height to shift at most.
        scale: the range of the factor.
        shear: by how many degrees at most, to either side; or a range.
        interpolation: between pixels.
        fill: the pixels outside the image, of all channels or of each.

    Example:
        data: {name: npy, root: arrays, loader: {transforms: [{name: RandomAffine, degrees: 10, scale: [0.8, 1.2]}]}}
    """
    from torchvision.transforms import InterpolationMode, v2

    return v2.RandomAffine(degrees, translate, scale, shear, InterpolationMode(interpolation), fill)


@hookimpl
def register_transforms() -> Mapping[str, Callable[..., nn.Module] | str]:
    # Torchvision annotates their degrees as a number of any kind, which YAML cannot express.
    own = {"RandomAffine": affine, "RandomRotation": rotation}
    return {**{name: f"torchvision.transforms.v2:{name}" for name in _TORCHVISION.split()}, **own}
