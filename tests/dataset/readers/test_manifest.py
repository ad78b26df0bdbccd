import csv
import io

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refused_as

from pd.dataset.readers.manifest import manifest
from pd.dataset.readers.source import BadRow, Row
from pd.errors import UserError


def write_csv(folder, text, name="m.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def write_parquet(folder, table, name="m.parquet"):
    pq.write_table(pa.table(table), folder / name)
    return folder / name


def test_csv(tmp_path):
    path = write_csv(
        tmp_path,
        'path,identity,caption,split,age,left,note\na/1.png,007,"a, b\nc",member,41,true,x\n a/2.png , 08 ,,holdout,,false,y\n',
    )
    source = manifest(path)
    first, second = source.rows()
    assert (source.total, source.has_split, source.embedded) == (2, True, False)
    assert source.labels == {"age": pa.int64(), "left": pa.bool_(), "note": pa.string()}
    assert first == Row(
        "a/1.png",
        1,
        "a/1.png",
        tmp_path.resolve() / "a/1.png",
        "007",
        "a, b\nc",
        "member",
        {"age": 41, "left": True, "note": "x"},
    )
    assert (second.identity, second.caption, second.split, second.number) == ("08", None, "holdout", 2)
    assert second.labels["age"] is None


def test_image_may_be_the_path_column(tmp_path):
    row = next(manifest(write_csv(tmp_path, "image,identity\nx.png,a\n")).rows())
    assert row.data == tmp_path.resolve() / "x.png"
    assert row.caption is None


def test_names_that_look_like_nothing_are_names(tmp_path):
    rows = list(manifest(write_csv(tmp_path, "path,identity\na.png,NA\nb.png,null\nc.png,nan\n")).rows())
    assert [row.identity for row in rows] == ["NA", "null", "nan"]


def test_bad_rows(tmp_path):
    text = "path,identity\n../x.png,a\n/etc/passwd,a\nhttps://h/x.png,a\n,a\ny.png,\ny.png,  \n"
    rows = list(manifest(write_csv(tmp_path, text)).rows())
    assert all(isinstance(row, BadRow) for row in rows)
    assert [row.reason for row in rows] == ["outside the folder"] * 3 + ["missing"] + ["no identity"] * 2
    assert str(rows[4]) == "y.png (row 5): no identity"
    assert str(rows[3]) == "row 4: missing (no path)"


@pytest.mark.parametrize("kind", ["bytes", "large", "struct"])
def test_parquet_with_images(kind, tmp_path):
    values = [b"one", b"two"]
    image = {
        "bytes": pa.array(values),
        "large": pa.array(values, pa.large_binary()),
        "struct": pa.array([{"bytes": value, "path": "same.png"} for value in values]),
    }[kind]
    source = manifest(write_parquet(tmp_path, {"image": image, "identity": [3, 4], "id": ["u", "v"], "age": [1.5, None]}))
    rows = list(source.rows())
    assert source.embedded
    assert [row.data for row in rows] == values
    assert [row.key for row in rows] == [None, None]
    assert [row.identity for row in rows] == ["3", "4"]
    assert rows[0].name == ("same.png" if kind == "struct" else "row 1")
    assert rows[0].labels == {"source_id": "u", "age": 1.5}
    assert source.labels == {"source_id": pa.string(), "age": pa.float64()}


def test_struct_without_bytes_is_a_path_held_inside(tmp_path):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    image = pa.array([{"bytes": None, "path": "x.png"}, {"bytes": None, "path": "../x.png"}, None], kind)
    rows = list(manifest(write_parquet(tmp_path, {"image": image, "identity": ["a"] * 3})).rows())
    assert rows[0].data == tmp_path.resolve() / "x.png"
    assert [row.reason for row in rows[1:]] == ["outside the folder", "missing"]


def test_parquet_that_pandas_wrote(tmp_path):
    frame = pd.DataFrame(
        {"path": ["a.png", "b.png"], "identity": [7.0, None], "site": pd.Categorical(["x", "y"])}, index=[5, 9]
    )
    frame.to_parquet(tmp_path / "m.parquet")
    source = manifest(tmp_path / "m.parquet")
    good, bad = source.rows()
    assert good.identity == "7"
    assert good.labels == {"site": "x"}
    assert set(source.labels) == {"site"}
    assert bad.reason == "no identity"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty"),
        ("path,identity\n", "no rows"),
        ("identity,age\na,1\n", "no column 'path' or 'image'.*its columns are: identity, age"),
        ("path,age\na,1\n", "no column 'identity'"),
        ("path#identity\na.png#b\n", "no column .path. or .image.*columns are: path#identity; set data.columns.image"),
        ("path,identity,identity\na,b,c\n", "two columns are called 'identity'"),
        ("path,identity\na.png,b\nc.png,d,e\n", "line 3: not a readable CSV"),
        ("path,identity,id,source_id\na.png,b,c,d\n", "rename 'source_id'"),
    ],
)
def test_csv_that_will_not_do(text, message, tmp_path):
    with pytest.raises(UserError, match=message) as caught:
        list(manifest(write_csv(tmp_path, text)).rows())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("column", ["path", "identity", "caption", "label", "héader"])
def test_csv_in_another_encoding(column, tmp_path):
    columns = dict.fromkeys(["path", "identity", "caption", "label"], "x") | {column: "é"}
    text = f"{','.join(columns)}\n{','.join(columns.values())}\n"
    with refused_as("unreadable-file", "UTF-8"):
        manifest(write_csv(tmp_path, text, encoding="latin-1"))
    assert manifest(write_csv(tmp_path, text, encoding="utf-8-sig")).total == 1


def test_errors_never_quote_a_caption(tmp_path):
    text = "path,identity,caption\na.png,b,SECRET,extra\n"
    with pytest.raises(UserError) as caught:
        manifest(write_csv(tmp_path, text))
    assert "SECRET" not in str(caught.value)


def test_parquet_that_will_not_do(tmp_path):
    (tmp_path / "junk.parquet").write_bytes(b"PAR1 junk")
    with refused_as("unreadable-file"):
        manifest(tmp_path / "junk.parquet")
    with refused_as("bad-column", "'image'", "int64"):
        manifest(write_parquet(tmp_path, {"image": [1], "identity": ["a"]}))


def test_columns_of_types_that_are_no_labels_are_not_read(tmp_path):
    far = pa.array([2**62], pa.timestamp("ns", tz="Nowhere/At_all"))
    table = {"path": ["a.png"], "identity": ["a"], "when": far, "deep": [{"a": [{"b": 1}]}], "age": [3]}
    source = manifest(write_parquet(tmp_path, table))
    assert [row.labels for row in source.rows()] == [{"age": 3}]


def test_columns_that_mean_harm(tmp_path):
    for table, message in (
        ({"path": ["a"], "identity": [["a"]]}, "'identity' is list"),
        ({"path": ["a"], "identity": ["a"], "caption": [b"x"]}, "'caption' is binary"),
        ({"image": [{"bytes": "text", "path": "a"}], "identity": ["a"]}, "column 'image' is struct"),
        ({"path": ["a"], "identity": ["a"], **{f"x{i}": [1] for i in range(1001)}}, "1001 columns"),
    ):
        with pytest.raises(UserError, match=message):
            manifest(write_parquet(tmp_path, table))
    bad = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff"))
    with refused_as("unreadable-file"):
        list(manifest(write_parquet(tmp_path, {"path": ["a"], "identity": bad})).rows())
    (row,) = manifest(write_parquet(tmp_path, {"path": ["a"], "identity": ["a"], "caption": ["x" * 10_001]})).rows()
    assert (row.reason, row.name) == ("unsupported", "a")


def test_parquet_damaged_inside(tmp_path):
    path = write_parquet(tmp_path, {"path": [f"{i}.png" for i in range(5000)], "identity": ["a"] * 5000})
    data = bytearray(path.read_bytes())
    data[4:2000] = b"\xff" * 1996
    path.write_bytes(data)
    with refused_as("unreadable-file"):
        list(manifest(path).rows())


def test_wrong_places(tmp_path):
    with refused_as("no-such-file"):
        manifest(tmp_path / "none.csv")
    with refused_as("no-such-file"):
        manifest(tmp_path)
    with refused_as("unreadable-file", "'.xlsx'"):
        manifest(write_csv(tmp_path, "x", "m.xlsx"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)] * 3), min_size=1))
def test_any_text_comes_back(tmp_path, rows):
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("path", "identity", "caption"), *rows])
    read = list(manifest(write_csv(tmp_path, out.getvalue())).rows())
    assert len(read) == len(rows)
    for number, ((_, identity, caption), row) in enumerate(zip(rows, read, strict=True), start=1):
        assert row.number == number
        if isinstance(row, Row):
            assert row.identity == identity.strip()
            assert row.caption == (caption.strip() or None)
            assert row.data.is_relative_to(tmp_path.resolve())
        else:
            assert row.reason in ("no identity", "missing", "outside the folder")
