"""Decoding through workers gives what decoding here gives; the workers of a real Ray are in tests/engine/test_map_images.py."""

import shutil
from dataclasses import replace

import pytest
from refusals import refused_as

from pd.dataset import decoded_files
from pd.dataset.decoded_files import DecodedFiles, decoded_by
from pd.dataset.decoding import decoded_rows
from pd.dataset.mapping import map_here
from pd.dataset.readers.folder import folder
from pd.dataset.readers.source import BadRow


@pytest.fixture
def mapped(monkeypatch):
    """A `Decode` by the mapper of this process, and the names of its works."""
    monkeypatch.setattr(decoded_files, "HERE_BYTES", 0)
    names = []

    def tables(function, name):
        names.append(name)
        yield map_here(function)

    return decoded_by(tables, "files"), names


def test_files_containers_and_bad_images_come_out_as_here(people, settings, mapped, monkeypatch):
    decode, names = mapped
    root = people(n=6, each=3)
    (root / "p0" / "0.png").write_bytes(b"no image")
    (root / "p1" / "1.png").write_bytes((root / "p2" / "1.png").read_bytes()[:60])
    rows = list(folder(root).rows())
    rows[4:4] = [replace(rows[7], data=rows[7].data.read_bytes()), BadRow("x.png", None, "no identity")]
    rows = [row if isinstance(row, BadRow) else replace(row, caption="c", labels={"age": 3}) for row in rows]
    here = list(decoded_rows(rows, settings()))
    assert sum(isinstance(item, BadRow) for item in here) == 3
    monkeypatch.setattr(decoded_files, "ROWS_AT_ONCE", 5)
    assert list(decode(rows, settings())) == here
    assert names == [f"files-{part:05d}" for part in range(4)]  # 4 rows; the one that holds its bytes is read here; 5 + 5 + 5


def test_few_files_are_decoded_here(people, settings, mapped, monkeypatch):
    decode, names = mapped
    monkeypatch.setattr(decoded_files, "HERE_BYTES", 1 << 20)
    rows = list(folder(people(n=4)).rows())
    assert list(decode(rows, settings())) == list(decoded_rows(rows, settings()))
    assert names == []


def test_a_file_that_only_workers_miss_is_told_apart_from_one_that_is_not_there(people, settings, monkeypatch):
    monkeypatch.setattr(decoded_files, "HERE_BYTES", 0)
    root = people(n=4)
    rows = list(folder(root).rows())

    def elsewhere(function, name):  # a machine on which the folder is not mounted
        shutil.move(root, root.with_name("away"))
        table = map_here(function)
        shutil.move(root.with_name("away"), root)
        return [table]

    with refused_as("no-such-folder"):
        list(decoded_by(elsewhere, "files")(rows, settings()))
    rows[0].data.unlink()
    found = list(decoded_by(lambda function, name: [map_here(function)], "files")(rows, settings()))
    assert isinstance(found[0], BadRow)
    assert found[0].reason == "missing"
    assert not any(isinstance(item, BadRow) for item in found[1:])


def test_another_file_or_size_is_other_work(people, settings):
    root = people(n=2)
    rows = tuple(folder(root).rows())
    key = DecodedFiles(rows, settings()).key
    assert DecodedFiles(rows, settings()).key == key
    assert DecodedFiles(rows, settings(size=64)).key != key
    assert DecodedFiles(rows[1:], settings()).key != key
    rows[0].data.write_bytes(b"other")
    assert DecodedFiles(rows, settings()).key != key
