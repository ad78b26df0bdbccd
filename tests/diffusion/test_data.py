from pathlib import Path

import numpy as np
import pytest

from pd.dataset.parquet_images import ParquetImages
from pd.dataset.synthetic import SyntheticDataset
from pd.diffusion import data
from pd.diffusion.data import TrainingData


def made(n: int = 10) -> TrainingData:
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)
    return TrainingData(images, [f"caption {row % 3}" for row in range(n)])


def in_files(folder: Path, given: TrainingData) -> TrainingData:
    names = [str(row) for row in range(len(given))]
    SyntheticDataset(names, given.images, given.captions, {}).write(folder)
    opened = SyntheticDataset.open(folder)
    assert isinstance(opened.images, ParquetImages)
    return TrainingData(opened.images, opened.prompts)


def test_rows_are_counted() -> None:
    assert len(TrainingData(np.zeros((3, 8, 8, 1), np.uint8), ["a", "b", "c"])) == 3


@pytest.mark.parametrize(
    ("images", "captions"),
    [
        (np.zeros((2, 8, 8, 1), np.uint8), ["a"]),
        (np.zeros((2, 8, 8, 1), np.float32), ["a", "b"]),
        (np.zeros((2, 8, 8), np.uint8), ["a", "b"]),
        (np.zeros((2, 3, 8, 8), np.uint8), ["a", "b"]),
    ],
)
def test_what_does_not_fit_is_refused(images: np.ndarray, captions: list[str]) -> None:
    with pytest.raises(ValueError, match="images"):
        TrainingData(images, captions)


def test_parts_are_all_images_in_order_and_cut_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "PART_BYTES", 3 * 64)
    held = made()
    for given in (held, in_files(tmp_path / "s", held)):
        assert [len(part) for part in given.parts()] == [3, 3, 3, 1]
        assert np.array_equal(np.concatenate(list(given.parts())), held.images)


def test_the_fingerprint_is_of_pixels_and_captions_however_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = made()
    digest = held.fingerprint()
    filed = in_files(tmp_path / "s", held)
    assert filed.fingerprint() == digest
    monkeypatch.setattr(data, "PART_BYTES", 1)
    assert held.fingerprint() == filed.fingerprint() == digest
    changed = held.images.copy()
    changed[9, 7, 7, 0] ^= 1
    others = (
        TrainingData(changed, held.captions),
        TrainingData(held.images[::-1], held.captions),
        TrainingData(held.images, held.captions[::-1]),
        TrainingData(held.images.reshape(10, 4, 16, 1), held.captions),
    )
    assert len({digest, *(other.fingerprint() for other in others)}) == 5
