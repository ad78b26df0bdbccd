"""Decoded images of others: kept for the same files and settings alone, and forgotten when the work is done."""

import numpy as np
import pytest
from PIL import Image

from pd.config import DataSettings
from pd.dataset.cache import cached_images, forget_images
from pd.dataset.external import list_images
from pd.progress import Reporter
from pd.stages.condense_images import condense_images
from pd.store.places import Place

SETTINGS = DataSettings(size=16, mode="grey")


def folder(path, level, names=("a.png", "b.png")):
    path.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(np.full((16, 16), level, np.uint8)).save(path / name)
    return Place.parse(str(path))


def read(place, cache, settings=SETTINGS):
    held, names, _ = cached_images(place, list_images(place), settings, cache)
    return held.take(np.arange(len(held))), names


def test_the_same_images_are_decoded_once(tmp_path, monkeypatch):
    place = folder(tmp_path / "one", 10)
    first = read(place, tmp_path / "cache")
    monkeypatch.setattr("pd.dataset.cache.read_images", lambda *_: pytest.fail("decoded again"))
    again = read(place, tmp_path / "cache")
    np.testing.assert_array_equal(first[0], again[0])


def test_other_images_changed_files_and_other_settings_are_decoded_anew(tmp_path):
    cache = tmp_path / "cache"
    read(folder(tmp_path / "one", 10), cache)
    pixels, names = read(folder(tmp_path / "two", 20, ("c.png",)), cache)
    assert (pixels.mean(), names) == (20, ["c.png"])
    place = folder(tmp_path / "two", 30, ("c.png",))
    assert read(place, cache)[0].mean() == 30
    assert read(place, cache, SETTINGS.model_copy(update={"size": 8}))[0].shape == (1, 8, 8, 1)
    assert read(place, cache, SETTINGS.model_copy(update={"mode": "rgb"}))[0].shape == (1, 16, 16, 3)
    assert len(list(cache.iterdir())) == 1
    forget_images(cache)
    assert not cache.exists()


def test_a_command_leaves_no_decoded_copy(tmp_path):
    (tmp_path / "in").mkdir()
    for name, level in (("dark", 20), ("bright", 200)):
        folder(tmp_path / "in" / name, level)
    given = ["data.size=16", "condense.width=8", "condense.per_class=1", "condense.batch=2", "condense.training.steps=1"]
    condense_images(str(tmp_path / "in"), "folder", tmp_path / "out", given, Reporter())
    assert not (tmp_path / ".out.work" / "images").exists()
