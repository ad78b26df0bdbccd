"""What is read of a place that nobody says how to read."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dicom_makers import encoded, made

from pd.dataset.readers.guess import guess

DICOM = encoded(made(np.zeros((4, 4), np.uint16)))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["p/a.PNG", "p/b.txt"], {"reader": "folder"}),
        (["p/a.png", "p/b.mp4"], {"reader": "folder"}),  # a still beside each clip
        (["p/a.MP4", "notes.txt"], {"reader": "video"}),
        (["s-0.tar", "s-1.TAR"], {"preset": "webdataset"}),
        (["a/metadata.jsonl", "a/b.png"], {"preset": "imagefolder"}),
        (["st1/IM0001"], {"reader": "dicom"}),
        (["data/train-00000.parquet", "README.md"], {"reader": "huggingface"}),
        (["state.json", "data-00000.arrow"], {"reader": "huggingface"}),
        (["notes.txt"], {"reader": "folder"}),
        ([], {"reader": "folder"}),
    ],
)
def test_a_folder(names, expected, tmp_path):
    for name in names:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(DICOM if "IM" in name else b"x")
        if name.endswith(".parquet"):
            pq.write_table(pa.table({"identity": ["p"]}), file)
    assert guess(str(tmp_path)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.csv", {"reader": "manifest"}), ("a.tar", {"preset": "webdataset"}), ("a.mp4", {"reader": "video"})],
)
def test_a_file(name, expected, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    assert guess(str(tmp_path / name)) == expected
    if "mp4" not in name:
        assert guess(f"s3://bucket/{name}") == expected
