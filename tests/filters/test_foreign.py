import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pd.dataset.decode import decode, load
from pd.errors import UserError
from pd.filters.foreign import fetch, fingerprint, list_images


def _png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 20), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _values(source, names):
    from pd.config import DataSettings

    data = DataSettings(size=16)
    return [int(decode(load(item, data), data).pixels[0, 0, 0]) for item in fetch(source, names)]


def test_a_nested_folder(tmp_path):
    (tmp_path / "b").mkdir()
    for name, value in (("b/two.png", 2), ("a#1.png", 1), ("c.jpg", 3)):
        (tmp_path / name).write_bytes(_png(value))
    (tmp_path / "notes.txt").write_text("no image")
    names = list_images(tmp_path)
    assert sorted(names) == ["a#1.png", "b/two.png", "c.jpg"]
    assert dict(zip(names, _values(tmp_path, names), strict=True)) == {"a#1.png": 1, "b/two.png": 2, "c.jpg": 3}


@pytest.mark.parametrize("struct", [True, False])
def test_parquet_rows_across_row_groups_and_files(tmp_path, struct):
    for file in range(2):
        values = [_png(10 * file + row) for row in range(7)]
        column = pa.array([{"bytes": value, "path": None} for value in values]) if struct else pa.array(values)
        pq.write_table(pa.table({"image": column}), tmp_path / f"s{file}.parquet", row_group_size=3)
    names = list_images(tmp_path)
    assert names[:2] == ["s0.parquet#0", "s0.parquet#1"]
    assert len(names) == 14
    assert _values(tmp_path, names[5:10]) == [5, 6, 10, 11, 12]
    single = list_images(tmp_path / "s1.parquet")
    assert _values(tmp_path / "s1.parquet", single) == list(range(10, 17))


def test_a_missing_image_is_empty(tmp_path):
    column = pa.array([None, {"bytes": None, "path": "x"}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": column}), tmp_path / "s.parquet")
    assert list(fetch(tmp_path, list_images(tmp_path))) == [b"", b""]


def test_links_that_lead_out_are_not_followed(tmp_path):
    (tmp_path / "out.png").write_bytes(_png(1))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "x.png").symlink_to(tmp_path / "out.png")
    assert list(fetch(folder, list_images(folder))) == [None]


def test_fingerprint_changes_with_the_files(tmp_path):
    (tmp_path / "a.png").write_bytes(_png(1))
    before = fingerprint(tmp_path, list_images(tmp_path))
    assert before == fingerprint(tmp_path, list_images(tmp_path))
    (tmp_path / "b.png").write_bytes(_png(1))
    assert before != fingerprint(tmp_path, list_images(tmp_path))


def test_bad_sources(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no image here"):
        list_images(tmp_path)
    pq.write_table(pa.table({"pixels": [b""]}), tmp_path / "s.parquet")
    with pytest.raises(UserError, match="no column 'image'"):
        list_images(tmp_path)
    (tmp_path / "s.parquet").write_bytes(b"no parquet")
    with pytest.raises(UserError, match="not readable as Parquet"):
        list_images(tmp_path)
    (tmp_path / "a.png").write_bytes(_png(1))
    with pytest.raises(UserError, match="one kind"):
        list_images(tmp_path)
