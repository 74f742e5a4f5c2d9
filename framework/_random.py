"""Random numbers: seeds for what is drawn where, and torch's generators left as they were."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derived_seed(seed: int, *place: object) -> int:
    """A seed for what is drawn at a place, such as the order of the third pass: 63 bits, as many as torch takes."""
    text = "\n".join(map(str, (seed, *place)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leave torch's global generators as they were, those of the GPUs too."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        yield
