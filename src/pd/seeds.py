"""Seeds of parts, derived from the run's seed: everything follows from (seed, name)."""

import hashlib


def derive(seed: int, *names: str | int) -> int:
    """A seed in [0, 2^31) for a named part of a run.

    SHA-256 of the run's seed and the names, so that parts are independent and adding one moves no other.
    """
    text = "\0".join(str(name) for name in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
