"""Real files to read: small pictures of noise, each different from every other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pd.config import DataSettings

Photo = Callable[..., Image.Image]


@pytest.fixture
def photo() -> Photo:
    """photo(seed, width=20, height=20, mode='L') -> a picture of blocks that only the seed decides."""

    def make(seed: int, width: int = 20, height: int = 20, mode: str = "L") -> Image.Image:
        blocks = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        return Image.fromarray(blocks).resize((width, height)).convert(mode)

    return make


@pytest.fixture
def people(tmp_path: Path, photo: Photo) -> Callable[..., Path]:
    """people(n=8, each=2) -> a folder with one sub-folder per person."""

    def make(n: int = 8, each: int = 2) -> Path:
        root = tmp_path / "people"
        for person in range(n):
            folder = root / f"p{person}"
            folder.mkdir(parents=True)
            for index in range(each):
                photo(person * 100 + index).save(folder / f"{index}.png")
        return root

    return make


@pytest.fixture
def settings() -> Callable[..., DataSettings]:
    """settings(**keys) -> data settings for 16-pixel images from a folder."""

    def make(**keys: object) -> DataSettings:
        return DataSettings.model_validate({"reader": "folder", "size": 16, **keys})

    return make
