import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def people() -> tuple[NDArray[np.uint8], list[str]]:
    """Twelve made-up people, five 16-pixel pictures of each: (60, 16, 16, 1) uint8 and their names."""
    chance = np.random.default_rng(0)
    coarse = chance.uniform(0, 1, size=(12, 4, 4))
    images = [
        np.kron(person, np.ones((4, 4))) * 200 + 20 + chance.normal(0, 8, size=(16, 16)) for person in coarse for _ in range(5)
    ]
    names = [f"person {k}" for k in range(12) for _ in range(5)]
    return np.clip(np.stack(images), 0, 255).astype(np.uint8)[..., None], names
