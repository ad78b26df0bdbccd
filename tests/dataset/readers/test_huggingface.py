import io
import sys

import datasets
import numpy as np
import pytest
from PIL import Image
from refusals import refused_as

from pd.config import ColumnSettings, DataSettings
from pd.dataset.ingest import ingest
from pd.dataset.readers.choose import open_source
from pd.errors import UserError


def pictures(count, start=0):
    made = [Image.fromarray(np.random.default_rng(start + n).integers(0, 256, (16, 16), dtype=np.uint8)) for n in range(count)]
    people = [f"p{n % 7}" for n in range(count)]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "identity": datasets.Value("string"),
            "finding": datasets.ClassLabel(names=["none", "nodule"]),
            "age": datasets.Value("int32"),
        }
    )
    columns = {"image": made, "identity": people, "finding": [n % 2 for n in range(count)], "age": list(range(count))}
    return datasets.Dataset.from_dict(columns, features=features)


def settings(path, **more):
    return DataSettings(reader="huggingface", path=path, size=16, **more)


def test_save_to_disk(tmp_path):
    whole = pictures(14)
    whole.save_to_disk(tmp_path / "set")
    source = open_source(settings(tmp_path / "set"))
    rows = list(source.rows())
    assert source.total == len(rows) == 14
    assert source.embedded
    assert source.files
    assert (rows[1].identity, rows[1].labels) == ("p1", {"finding": "nodule", "age": 1})
    with Image.open(io.BytesIO(rows[3].data)) as found:
        assert np.array_equal(np.asarray(found), np.asarray(whole[3]["image"]))
    report = ingest(settings(tmp_path / "set"), 7, tmp_path / "out")
    assert sum(report.images.values()) == 14


def test_rows_that_were_selected(tmp_path):
    pictures(14).select([5, 2]).save_to_disk(tmp_path / "set")
    assert [row.labels["age"] for row in open_source(settings(tmp_path / "set")).rows()] == [5, 2]


def test_splits_of_a_data_set(tmp_path):
    both = datasets.DatasetDict({"train": pictures(7), "test": pictures(7, 50)})
    both.save_to_disk(tmp_path / "set")
    assert not open_source(settings(tmp_path / "set")).has_split
    source = open_source(settings(tmp_path / "set", columns=ColumnSettings(members=("train",))))
    assert [row.split for row in source.rows()] == ["member"] * 7 + ["holdout"] * 7
    assert "__split__" not in source.labels


def test_a_folder_of_parquet_is_streamed(tmp_path):
    (tmp_path / "set").mkdir()
    pictures(14).to_parquet(tmp_path / "set" / "part.parquet")
    source = open_source(settings(tmp_path / "set"))
    assert [row.labels for row in source.rows()][:2] == [{"finding": "none", "age": 0}, {"finding": "nodule", "age": 1}]


@pytest.mark.parametrize(
    ("path", "more", "message"),
    [
        ("owner/name", {}, "data.revision: a hub id without a revision"),
        ("none/at/all", {}, "no such folder"),
        ("/none", {}, "no such folder"),
    ],
)
def test_wrong_places(path, more, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        open_source(settings(path, **more))


def test_a_folder_that_holds_none(tmp_path):
    with refused_as("no-images"):
        open_source(settings(tmp_path))
    (tmp_path / "state.json").write_text("{")
    with refused_as("unreadable-file"):
        open_source(settings(tmp_path))


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with refused_as("missing-package", "data.reader"):
        open_source(settings(tmp_path))
