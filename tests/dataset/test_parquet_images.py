import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from refusals import refused_as

from pd.dataset.images import Pixels, encode_png
from pd.dataset.parquet_images import ParquetImages, blocks, held_bytes, rows_of
from pd.dataset.schema import IMAGE


def write(folder: Path, images: Pixels, cuts: tuple[int, ...], group: int = 3) -> list[Path]:
    """Files of so many images each, in row groups of `group`."""
    files, start = [], 0
    for number, size in enumerate(cuts):
        part = [{"bytes": encode_png(image), "path": None} for image in images[start : start + size]]
        files.append(folder / f"{number}.parquet")
        pq.write_table(pa.table({"image": pa.array(part, IMAGE)}), files[-1], row_group_size=group)
        start += size
    return files


@pytest.fixture
def images() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (17, 8, 8, 3), dtype=np.uint8)


def test_any_slice_is_that_of_the_array(tmp_path: Path, images: Pixels) -> None:
    lazy = ParquetImages.open(write(tmp_path, images, (5, 0, 10, 2)))
    assert (lazy.shape, lazy.dtype, lazy.ndim, len(lazy)) == (images.shape, images.dtype, 4, 17)
    for rows in (slice(None), slice(0, 1), slice(4, 6), slice(3, 16, 2), slice(9, 9)):
        assert np.array_equal(lazy[rows], images[rows])


def test_chosen_rows_come_in_their_order_also_after_pickling(tmp_path: Path, images: Pixels) -> None:
    rows = np.array([16, 2, 2, 9, 0])
    chosen = rows_of(ParquetImages.open(write(tmp_path, images, (8, 9))), rows)
    again = pickle.loads(pickle.dumps(chosen))
    assert again.shape == (5, 8, 8, 3)
    assert np.array_equal(again[:], images[rows])
    assert np.array_equal(again.take(np.array([1, 3]))[:], images[[2, 9]])
    assert np.array_equal(rows_of(images, rows)[:], images[rows])


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path, images: Pixels) -> None:
    assert np.array_equal(ParquetImages.open(write(tmp_path, images, (17,)))[:], images)
    assert np.array_equal(ParquetImages.open(write(tmp_path, images[::-1], (17,)))[:], images[::-1])


def test_images_of_another_size_are_refused_when_they_are_read(tmp_path: Path, images: Pixels) -> None:
    other = np.zeros((3, 16, 8, 3), np.uint8)
    (tmp_path / "other").mkdir()
    lazy = ParquetImages.open(write(tmp_path, images, (17,)) + write(tmp_path / "other", other, (3,)))
    assert len(lazy[:17]) == 17
    with refused_as("mixed-sizes", "8x8", "8x16"):
        lazy[16:18]


def test_no_images(tmp_path: Path, images: Pixels) -> None:
    nothing = ParquetImages.open(write(tmp_path, images, (0,)))
    assert nothing.shape == nothing[:].shape == (0, 0, 0, 1)


def test_rows_by_index_and_by_mask(tmp_path: Path, images: Pixels) -> None:
    lazy = ParquetImages.open(write(tmp_path, images, (5, 12)))
    rows, mask = np.array([16, 3, 3, 0]), np.arange(17) % 3 == 0
    assert np.array_equal(lazy[rows], images[rows])
    assert np.array_equal(lazy[mask], images[mask])


def test_blocks_cover_everything_in_order(tmp_path: Path, images: Pixels) -> None:
    lazy = ParquetImages.open(write(tmp_path, images, (8, 9)))
    each = images[0].nbytes
    assert held_bytes(lazy) == images.nbytes
    for most, sizes in ((1, [1] * 17), (5 * each, [4, 4, 4, 4, 1]), (300 * each, [17]), (10**9, [17])):
        for held in (lazy, images):
            found = list(blocks(held, most))
            assert [len(block) for _, block in found] == sizes
            assert np.array_equal(np.concatenate([block for _, block in found]), images)
            assert all(np.array_equal(images[rows], block) for rows, block in found)
    many = np.zeros((1000, 2, 2, 1), np.uint8)
    assert [len(block) for _, block in blocks(many, 4 * 700)] == [512, 488]
