"""Random numbers as a function of (seed, what for, index), and of nothing else.

Philox (Salmon et al., SC 2011) is a counter-based generator: seed and index are its 128-bit key, the purpose its
counter's top word, so streams never meet. `torch.Generator` will not do: its CPU engine keeps the low 32 bits of a
seed, with which two of 80,000 hashed ids are likely to share their noise.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is for. A new purpose gets a new number; numbers are never reused."""

    EPOCH = 1
    STEP = 2
    SAMPLE = 3
    WINDOW = 4
    CROP = 5
    MEMBERSHIP = 6


def stream(seed: int, purpose: Purpose, index: int) -> np.random.Generator:
    """The generator of (seed, purpose, index); seed and index are integers from 0 to 2**64 - 1."""
    key = np.array([seed, index], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 0, purpose], dtype=np.uint64)))
