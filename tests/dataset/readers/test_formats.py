"""Tables as people have them: delimiters, encodings, JSON lines, other names of columns, Windows paths."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from refusals import refused_as

from pd.config import ColumnSettings, DataSettings, parse_settings
from pd.dataset.readers.choose import open_source
from pd.dataset.readers.columns import findings_in
from pd.dataset.readers.identity import identity_of
from pd.dataset.readers.manifest import manifest
from pd.errors import UserError

TABLE = [["path", "identity", "caption", "age"], ["a/1.png", "007", "a; b, c", "41"], ["b.png", "08", "é", ""]]


def written(delimiter):
    return "".join(
        delimiter.join(f'"{cell}"' if cell.strip("0") != cell or "," in cell else cell for cell in row) + "\r\n"
        for row in TABLE
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_and_encodings(delimiter, encoding, tmp_path):
    (tmp_path / "m.csv").write_bytes(written(delimiter).encode(encoding))
    source = manifest(tmp_path / "m.csv")
    first, second = source.rows()
    assert (first.identity, first.caption, first.labels) == ("007", "a; b, c", {"age": 41})
    assert (second.key, second.caption, second.labels["age"]) == ("b.png", "é", None)


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize("said", ["", "sep=;", '"sep=;"', "SEP=;"])
def test_ends_of_lines_and_the_line_that_excel_begins_with(said, end, tmp_path):
    lines = [*([said] if said else []), "path;identity;a,b,c,d,e", "x.png;007;1,5", "y.png;08;2,5"]
    (tmp_path / "m.csv").write_bytes("".join(line + end for line in lines).encode())
    assert [row.identity for row in manifest(tmp_path / "m.csv").rows()] == ["007", "08"]


@pytest.mark.parametrize("data", [b"", b" \r\n\n", b"\xef\xbb\xbf"])
def test_an_empty_table(data, tmp_path):
    (tmp_path / "m.csv").write_bytes(data)
    with refused_as("unreadable-file"):
        manifest(tmp_path / "m.csv")


def test_a_header_without_quotes_that_holds_another_delimiter(tmp_path):
    (tmp_path / "m.csv").write_text("path,identity,a;b;c;d;e\nx.png,p,1\n")
    assert manifest(tmp_path / "m.csv").labels == {"a;b;c;d;e": pa.int64()}


def test_blanks_around_names_of_columns(tmp_path):
    (tmp_path / "m.csv").write_text("path, identity ,age\nx.png,007,1\n")
    assert next(iter(manifest(tmp_path / "m.csv").rows())).identity == "007"


def test_gzip(tmp_path):
    (tmp_path / "m.csv.gz").write_bytes(gzip.compress(b"path,identity\na.png,p\n"))
    assert manifest(tmp_path / "m.csv.gz").total == 1
    (tmp_path / "n.csv.gz").write_bytes(b"no gzip")
    with refused_as("unreadable-file", "CSV"):
        manifest(tmp_path / "n.csv.gz")


def test_json_lines(tmp_path):
    lines = [
        {"file_name": "a.png", "identity": "007", "sex": "F", "age": 3, "deep": {"x": 1}},
        {"file_name": "b.png", "identity": 8, "age": 4.5, "big": 2**70, "caption": "two"},
        {"file_name": "c.png", "identity": "x", "extra": [1, {}]},
    ]
    (tmp_path / "m.jsonl").write_text("\ufeff" + "\n\n".join(map(json.dumps, lines)), encoding="utf-8")
    first, second, third = manifest(tmp_path / "m.jsonl").rows()
    assert (first.identity, first.labels) == ("007", {"sex": "F", "age": 3.0, "big": None})
    assert (second.identity, second.caption, second.labels["big"]) == ("8", "two", str(2**70))
    assert third.labels == {"sex": None, "age": None, "big": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column"),
        ("[1]\n", "line 1: not a JSON object"),
        ('{"path": "a"}\n{"path": SECRET}\n', "line 2: not a JSON object"),
        ("[" * 100_000, "line 1: not a JSON object"),
        ('{"path": "' + "x" * 2**20 + '"}', "a line of more than a million"),
        ('{"path": "a", "who": "p"}', "its columns are: path, who; set data.columns.identity"),
        ("".join(json.dumps({f"k{n}": 1}) + "\n" for n in range(2001)), "more than 2000 different keys"),
    ],
)
def test_json_lines_that_will_not_do(text, message, tmp_path):
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        manifest(tmp_path / "m.jsonl")
    assert "SECRET" not in str(caught.value)
    (tmp_path / "n.jsonl").write_bytes(b'{"path": "\xff"}')
    with refused_as("unreadable-file", "UTF-8"):
        manifest(tmp_path / "n.jsonl")


def test_columns_of_other_names(tmp_path):
    (tmp_path / "m.csv").write_text("Datei,Fall,Text,Teil,Befund,Alter\na.png,01,hi,train,x|y,5\nb.png,02,,test,,6\n")
    columns = ColumnSettings(
        image="Datei", identity="Fall", caption="Text", split="Teil", members=("train",), findings="Befund", labels=("Alter",)
    )
    source = manifest(tmp_path / "m.csv", columns)
    first, second = source.rows()
    assert (first.identity, first.caption, first.split, first.labels) == ("01", "hi", "member", {"Alter": 5, "x": 1, "y": 1})
    assert (second.split, second.labels) == ("holdout", {"Alter": 6, "x": None, "y": None})
    assert source.has_split


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"identity": "who"}, "no column 'who'.*its columns are: path, person, age; set data.columns.identity to one of them"),
        ({}, "no column 'identity'.*set data.columns.identity to the one that it is, or set data.identity_from"),
        ({"identity": "person", "image": "file"}, "no column 'file'.*set data.columns.image"),
        ({"identity": "person", "labels": ("sex",)}, "no column 'sex'.*mend data.columns.labels"),
        ({"identity": "person", "findings": "f"}, "no column 'f'"),
    ],
)
def test_errors_name_the_columns_and_the_setting(columns, message, tmp_path):
    (tmp_path / "m.csv").write_text("path,person,age\na.png,p,3\n")
    with pytest.raises(UserError, match=message):
        manifest(tmp_path / "m.csv", ColumnSettings(**columns))


def test_labels_called_like_columns_of_pd(tmp_path):
    pq.write_table(pa.table({"path": ["a"], "who": ["p"], "split": ["x"], "id": [1]}), tmp_path / "m.parquet")
    columns = ColumnSettings(identity="who", split="who", members=("p",), labels=("split", "id"))
    assert next(iter(manifest(tmp_path / "m.parquet", columns).rows())).labels == {"split_label": "x", "source_id": 1}


def test_backslashes(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "a" / "1.png")
    Image.new("L", (8, 8)).save(tmp_path / "b\\2.png")
    (tmp_path / "m.csv").write_text("path,identity\na\\1.png,p\nb\\2.png,p\n..\\x.png,p\nC:\\x.png,p\n")
    rows = list(manifest(tmp_path / "m.csv").rows())
    assert [row.key for row in rows[:2]] == ["a/1.png", "b\\2.png"]
    assert [row.reason for row in rows[2:]] == ["outside the folder"] * 2


def test_identity_from_the_path(tmp_path):
    assert identity_of("x/p10000032/y.png", r"p\d{8}") == "p10000032"
    assert identity_of("x/p10000032/y.png", r"p(\d{8})") == "10000032"
    assert identity_of("x/y.png", r"p(\d{8})") == ""
    assert [identity_of("site/who/y.png", depth) for depth in (1, 2, 3)] == ["site", "who", ""]
    (tmp_path / "m.csv").write_text("path\ns/p12345678/a.png\nnone.png\n")
    good, bad = manifest(tmp_path / "m.csv", identity_from=r"p\d{8}").rows()
    assert (good.identity, bad.reason) == ("p12345678", "no identity")
    (tmp_path / "set" / "site" / "who").mkdir(parents=True)
    Image.new("L", (8, 8)).save(tmp_path / "set" / "site" / "who" / "1.png")
    source = open_source(DataSettings(reader="folder", path=tmp_path / "set", identity_from=2))
    assert next(iter(source.rows())).identity == "who"


@pytest.mark.parametrize("value", ["(", 0, -1])
def test_patterns_that_are_none(value):
    with refused_as("bad-value", "identity_from"):
        parse_settings({"data": {"identity_from": value}})


def test_findings():
    assert findings_in("a|b | a", "|") == ["a", "b"]
    assert findings_in("['x', ' y']", "|") == ["x", "y"]
    assert findings_in(["x", "y "], "|") == ["x", "y"]
    assert findings_in(None, "|") == findings_in(" ", "|") == findings_in("[]", "|") == []
