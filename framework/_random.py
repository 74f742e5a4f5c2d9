"""Random numbers: seeds for what is drawn where, and torch's generators left as they were."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
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


@contextmanager
def global_generators_seeded(seed: int) -> Iterator[None]:
    """Let what draws from the global generators of torch (on the CPU), NumPy and Python draw from a seed, and leave
    them as they were.
    """
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    # Not torch.manual_seed, which would also seed the GPUs, and wait for them.
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        np.random.set_state(before[1])
        random.setstate(before[2])
