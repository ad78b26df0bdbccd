"""Parquet that nobody has checked: types, counts, and rows that take little room in a file and much in memory."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from refusals import refused_as

from pd.dataset import parquet_rows
from pd.dataset.parquet_rows import count_rows, holds_bytes, holds_text, row_batches


@pytest.mark.parametrize(
    ("kind", "holds"),
    [
        (pa.binary(), True),
        (pa.large_binary(), True),
        (pa.struct([("bytes", pa.binary()), ("path", pa.string())]), True),
        (pa.struct([("path", pa.null()), ("bytes", pa.large_binary())]), True),
        (pa.struct([("bytes", pa.binary())]), True),
        (pa.struct([("bytes", pa.string()), ("path", pa.string())]), False),
        (pa.struct([("bytes", pa.binary()), ("path", pa.int64())]), False),
        (pa.struct([("bytes", pa.binary()), ("more", pa.string())]), False),
        (pa.struct([("bytes", pa.struct([("bytes", pa.binary())]))]), False),
        (pa.struct([("bytes", pa.binary()), ("bytes", pa.binary())]), False),
        (pa.string(), False),
        (pa.list_(pa.binary()), False),
    ],
)
def test_what_can_hold_images(kind, holds):
    assert holds_bytes(kind) == holds


def test_what_can_hold_text():
    assert holds_text(pa.string())
    assert holds_text(pa.dictionary(pa.int32(), pa.string()))
    assert not holds_text(pa.dictionary(pa.int32(), pa.binary()))


def test_more_rows_than_bytes_are_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": pa.nulls(1_000_000, pa.int8())}), path, row_group_size=1_000_000)
    with pq.ParquetFile(path) as file, refused_as("unreadable-file", "1000000"):
        count_rows(file, path.stat().st_size, "a.parquet")
    with pq.ParquetFile(path) as file:
        assert count_rows(file, 1 << 20, "a.parquet") == 1_000_000


def test_large_rows_come_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "_BUDGET", 1 << 20)
    path = tmp_path / "a.parquet"
    # the same 100 kB a hundred times: a dictionary of one value, 10 MB when unpacked
    pq.write_table(pa.table({"image": [bytes(100_000)] * 100, "x": range(100)}), path, row_group_size=50)
    assert path.stat().st_size < 300_000
    with pq.ParquetFile(path) as file:
        batches = list(row_batches(file, ["image", "x"]))
        assert [row for batch in batches for row in batch["x"].to_pylist()] == list(range(100))
        assert max(batch.nbytes for batch in batches) <= 1 << 20
        assert next(row_batches(file, ["x"], [1]))["x"].to_pylist()[0] == 50
