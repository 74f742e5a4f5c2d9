"""The check of transforms."""

import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from framework._random import global_generators_seeded
from framework.testing._assertions import component, explained, require, same

_SHAPE = (3, 32, 32)


def check_transform(factory: Callable[..., nn.Module], **parameters: Any) -> None:
    """Check that a transform keeps its contracts.

    It is a module that gives an image, uint8 (channels, height, width), for one, (3, 32, 32), and leaves that as it
    was. It draws random numbers from the global generators only, and does the same after it has been sent to another
    process.

    Args:
        factory: the transform, as registered.
        parameters: its parameters, as YAML gives them.

    Raises:
        AssertionError: it breaks a contract; the text says which, and how to mend that.

    Example:
        >>> from framework.testing import check_transform
        >>> from torchvision.transforms import v2
        >>> check_transform(v2.RandomHorizontalFlip, p=0.3)
    """
    subject, made = component("transform", factory, parameters)
    with explained(f"{subject} cannot be made"):
        transform = made()
    require(
        isinstance(transform, nn.Module), f"{subject} must give a torch.nn.Module, not a {type(transform).__name__}"
    )
    with explained(f"{subject} cannot be sent to another process: define it at the top of its module"):
        other = pickle.loads(pickle.dumps(transform))
    image = torch.randint(0, 256, _SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for seed in range(5):
        before = image.clone()
        results = []
        for each in (transform, other):
            with explained(f"{subject} cannot transform an image"), global_generators_seeded(seed):
                results.append(each(image))
        one, again = results
        found = f"{one.dtype} {tuple(one.shape)}" if isinstance(one, Tensor) else type(one).__name__
        require(
            isinstance(one, Tensor) and one.dtype == torch.uint8 and one.dim() == 3,
            f"{subject} must give an image, torch.uint8 (channels, height, width), not {found}",
        )
        require(same(before, image), f"{subject} changes the image that it is given: return another one")
        require(
            same(one, again),
            f"{subject} gives another image each time: draw from the global generators of torch, NumPy or Python, "
            "which are seeded, and keep nothing from one image to the next",
        )
