"""The one source of privacy noise and of the draws that privacy depends on.

In production its key is 256 bits from the operating system. All that is drawn follows from the key by SHAKE-256 (FIPS 202),
an extendable-output function that nobody can tell from random without the key. So a killed step, done again, is the same
step: it draws the same people and the same noise, and one use of the data stays one use. The key lies in the run's private
`work` folder while a training runs, and is deleted when it is done.

With `formal.reproducible` the key follows from the run's seed: tests and studies repeat to the last digit, and the guarantee
is void to whoever knows the seed.

Normal numbers are Box and Muller's, in float64. Floating point numbers are not real numbers: see docs/formal-privacy.md.
"""

import hashlib
import os

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_KEY_BYTES = 32


class NoiseSource:
    """Noise as a function of (key, names): the same names give the same numbers, other names independent ones.

    Args:
        key: 32 secret bytes.
        secret: whether the key came from the operating system.
    """

    def __init__(self, key: bytes, *, secret: bool) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError(f"a key of {len(key)} bytes")
        self.key, self.secret = key, secret

    @classmethod
    def fresh(cls) -> "NoiseSource":
        """A new secret key."""
        return cls(os.urandom(_KEY_BYTES), secret=True)

    @classmethod
    def of_seed(cls, seed: int) -> "NoiseSource":
        """The key of a seed: reproducible, and no secret."""
        return cls(hashlib.sha256(f"pd reproducible noise {seed}".encode()).digest(), secret=False)

    def uniform(self, count: int, *names: str | int) -> Floats:
        """(count,) float64, uniform on (0, 1], in steps of 2^-53."""
        text = "\0".join(map(str, names)).encode()
        stream = hashlib.shake_256(self.key + text).digest(8 * count)
        whole = np.frombuffer(stream, dtype="<u8") >> np.uint64(11)
        return (whole.astype(np.float64) + 1.0) * 2.0**-53

    def normal(self, shape: tuple[int, ...], *names: str | int) -> Floats:
        """Standard normal numbers, float64, of this shape (Box and Muller 1958)."""
        count = int(np.prod(shape, dtype=np.int64))
        pairs = (count + 1) // 2
        drawn = self.uniform(2 * pairs, *names)
        radius, angle = np.sqrt(-2.0 * np.log(drawn[:pairs])), 2.0 * np.pi * drawn[pairs:]
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count].reshape(shape)

    def poisson_sample(self, people: int, probability: float, *names: str | int) -> npt.NDArray[np.int64]:
        """The people drawn, each on their own with this probability: numbers from 0, ascending."""
        return np.flatnonzero(self.uniform(people, *names) <= probability).astype(np.int64)

    def __repr__(self) -> str:
        return f"NoiseSource(secret={self.secret})"  # never the key
