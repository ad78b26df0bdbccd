import numpy as np
import pytest

from pd.filters import duplicate
from pd.filters.descriptor import describe
from pd.filters.duplicate import SKETCH, nearly_repeated, pixels_digest, repeated, sketches


def test_the_first_stays():
    assert repeated(["b" * 32, "a" * 32, "b" * 32, "b" * 32, "c" * 32]).tolist() == [False, False, True, True, False]
    assert repeated([]).tolist() == []


def test_digest_sees_pixels_and_shape():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert pixels_digest(image) == pixels_digest(np.asfortranarray(image))
    other = image.copy()
    other[1, 1, 2] ^= 1
    assert len({pixels_digest(image), pixels_digest(other), pixels_digest(image.reshape(3, 4, 1))}) == 3


def _one_by_one(rows, likeness):
    """The definition, in float64: a row goes when a row that stays before it is as like."""
    unit = rows / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    stays: list[int] = []
    gone = []
    for i, row in enumerate(unit):
        gone.append(bool(stays) and (unit[stays] @ row).max() >= likeness)
        if not gone[-1]:
            stays.append(i)
    return gone


@pytest.mark.parametrize("cuts", [[600], [1] * 10 + [590], [250, 250, 100]])
def test_near_repetitions_are_those_of_the_definition_however_they_come(monkeypatch, cuts):
    monkeypatch.setattr(duplicate, "_BLOCK", 64)
    rng = np.random.default_rng(0)
    clusters = rng.integers(-90, 91, (40, SKETCH))
    # Chains of likeness: a row may be like one that went, and then stays.
    rows = (clusters[rng.integers(0, 40, 600)] + rng.integers(-30, 31, (600, SKETCH))).astype(np.int8)
    expected = _one_by_one(rows, 0.9)
    assert 0 < sum(expected) < 599
    blocks = np.split(rows, np.cumsum(cuts)[:-1])
    assert nearly_repeated(blocks, 0.9).tolist() == expected


def test_even_pictures_repeat_nobody_and_no_pictures_are_no_trouble():
    assert nearly_repeated([np.zeros((3, SKETCH), np.int8)], 0.9).tolist() == [False] * 3
    assert nearly_repeated([], 0.9).tolist() == []
    assert nearly_repeated([np.zeros((0, SKETCH), np.int8)], 0.9).tolist() == []


def test_a_sketch_knows_its_picture_again_and_no_other(faces):
    images = faces.images[:60]
    softer = ((images.astype(int) - 128) * 0.8 + 140).clip(0, 255).astype(np.uint8)
    rows = np.concatenate([sketches(describe(images)), sketches(describe(softer))])
    assert rows.shape == (120, SKETCH)
    gone = nearly_repeated([rows], 0.97)
    assert gone[:60].mean() < 0.2  # some sitters held still
    assert gone[60:].all()
