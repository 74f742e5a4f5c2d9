"""Which rows of a dataset are held out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framework import DataError


def divided(path: Path, targets: NDArray[Any] | Sequence[int], name: str, fraction: float) -> list[NDArray[np.int64]]:
    """Hold a fraction of the rows out, of each class alike if they have one each, always the same ones.

    Args:
        path: where the rows are from, for messages.
        targets: of all rows: their classes, (N,), or anything else of more dimensions.
        name: of the split that is held out.
        fraction: in (0, 1).

    Returns:
        The indices of the rows that stay for training, and of those held out.

    Raises:
        DataError: a class is too rare.
    """
    from sklearn.model_selection import train_test_split

    classes = targets if np.ndim(targets) == 1 else None
    try:
        kept, held_out = train_test_split(np.arange(len(targets)), test_size=fraction, stratify=classes, random_state=0)
    except ValueError as error:
        raise DataError(f"{path}: {fraction:g} of its rows cannot be held out as {name} set: {error}") from error
    return [kept, held_out]
