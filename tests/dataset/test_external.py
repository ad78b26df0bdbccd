import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from refusals import refused_as

from pd.config import DataSettings
from pd.dataset.decode import BadImage
from pd.dataset.external import fingerprint, list_images, read_images, read_texts
from pd.store.places import Place


def _png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((20, 20), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _list(source):
    return list_images(Place.parse(str(source)))


def _values(source, images, **changes):
    """The grey level of each image, or why there is none."""
    found = read_images(Place.parse(str(source)), images, DataSettings(size=16, **changes))
    return [image.reason if isinstance(image, BadImage) else int(image[0, 0, 0]) for _, image in found]


def test_a_nested_folder(tmp_path):
    (tmp_path / "b").mkdir()
    for name, value in (("b/two.png", 2), ("a#1.png", 1), ("c.jpg", 3)):
        (tmp_path / name).write_bytes(_png(value))
    (tmp_path / "notes.txt").write_text("no image")
    images = _list(tmp_path)
    assert images.names == ["a#1.png", "c.jpg", "b/two.png"]
    assert _values(tmp_path, images) == [1, 3, 2]


@pytest.mark.parametrize("struct", [True, False])
def test_parquet_rows_across_row_groups_and_files(tmp_path, struct):
    for file in range(2):
        values = [_png(10 * file + row) for row in range(7)]
        column = pa.array([{"bytes": value, "path": None} for value in values]) if struct else pa.array(values)
        pq.write_table(pa.table({"image": column}), tmp_path / f"s{file}.parquet", row_group_size=3)
    images = _list(tmp_path)
    assert images.names[:2] == ["s0.parquet#0", "s0.parquet#1"]
    assert len(images) == 14
    assert _values(tmp_path, images.take(range(5, 10))) == [5, 6, 10, 11, 12]
    single = _list(tmp_path / "s1.parquet")
    assert _values(tmp_path / "s1.parquet", single) == list(range(10, 17))


def test_a_missing_image_is_empty(tmp_path):
    column = pa.array([None, {"bytes": None, "path": "x"}], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    pq.write_table(pa.table({"image": column}), tmp_path / "s.parquet")
    assert _values(tmp_path, _list(tmp_path), on_bad_image="skip") == ["empty", "empty"]


def test_links_that_lead_out_are_not_followed(tmp_path):
    (tmp_path / "out.png").write_bytes(_png(1))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "x.png").symlink_to(tmp_path / "out.png")
    assert _values(folder, _list(folder), on_bad_image="skip") == ["outside the folder"]


def _tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def test_tar_shards_as_webdataset_writes_them(tmp_path):
    for shard in range(2):
        images = [(f"{shard}{i:03d}.png", _png(10 * shard + i)) for i in range(4)]
        texts = [(f"{shard}{i:03d}.txt", b"a caption") for i in range(4)]
        _tar(tmp_path / f"s{shard}.tar", sorted(images + texts))
    images = _list(tmp_path)
    assert images.names[:2] == ["s0.tar#0000.png", "s0.tar#0001.png"]
    assert len(images) == 8
    assert _values(tmp_path, images.take(range(2, 6))) == [2, 3, 10, 11]
    single = tmp_path / "s1.tar"
    assert _values(single, _list(single)) == [10, 11, 12, 13]


def test_a_tar_shard_hands_over_plain_files_only(tmp_path):
    (tmp_path / "out.png").write_bytes(_png(1))
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, kind in (("soft.png", tarfile.SYMTYPE), ("hard.png", tarfile.LNKTYPE), ("pipe.png", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "out.png")
            tar.addfile(info)
        info = tarfile.TarInfo("../climbs.png")  # a name that is never opened as a path
        info.size = len(_png(5))
        tar.addfile(info, io.BytesIO(_png(5)))
    source = tmp_path / "s.tar"
    assert _list(source).names == ["s.tar#../climbs.png"]
    assert _values(source, _list(source)) == [5]


def test_an_image_larger_than_its_pixels_may_be_is_not_read_whole(tmp_path):
    _tar(tmp_path / "s.tar", [("big.png", b"\x89PNG" + bytes(17 << 20))])
    images = _list(tmp_path / "s.tar")
    assert _values(tmp_path / "s.tar", images, on_bad_image="skip", max_pixels=1000) == ["too large"]


def test_a_tar_shard_that_was_cut_short_is_refused_wherever_that_was(tmp_path):
    _tar(tmp_path / "s.tar", [(f"{n}.png", _png(n)) for n in range(3)])
    data = (tmp_path / "s.tar").read_bytes()
    with tarfile.open(tmp_path / "s.tar") as tar:
        ends = [member.offset for member in tar][1:]
    for cut in [0, 100, 700, *ends, *[end + 100 for end in ends]]:
        (tmp_path / "s.tar").write_bytes(data[:cut])
        with refused_as("unreadable-file"):
            _list(tmp_path / "s.tar")


def test_damaged_tar_shards_are_refused(tmp_path):
    _tar(tmp_path / "s.tar", [("a.png", _png(1)), ("a.png", _png(2))])
    with refused_as("unreadable-file", "'a.png'"):
        _list(tmp_path)
    (tmp_path / "s.tar").write_bytes(b"no tar at all" * 100)
    with refused_as("unreadable-file"):
        _list(tmp_path)


def _header(path, change):
    """Alter the first header of a shard, and its sum."""
    data = bytearray(path.read_bytes())
    change(data)
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("size", [-512, -(1 << 40), 1 << 40, 1 << 70])
def test_tar_sizes_that_cannot_be_are_refused(tmp_path, size):
    """A negative one sends the standard library round in circles (CVE-2025-8194)."""
    shard = tmp_path / "s.tar"
    for kind in (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        _tar(shard, [("a.png", _png(1)), ("b.png", _png(2))])

        def change(data, kind=kind):
            data[124:136] = (b"\xff" if size < 0 else b"\x80") + (size % 256**11).to_bytes(11, "big")
            data[156:157] = kind

        _header(shard, change)
        with refused_as("unreadable-file"):
            _list(shard)
    with tarfile.open(shard, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.png")
        info.pax_headers = {"size": str(size)}
        tar.addfile(info)
    with refused_as("unreadable-file"):
        _list(shard)


def test_a_damaged_header_is_not_the_end_of_a_shard(tmp_path):
    _tar(tmp_path / "s.tar", [("a.png", _png(1)), ("b.png", _png(2))])
    data = bytearray((tmp_path / "s.tar").read_bytes())
    second = data.index(b"b.png")
    data[second] ^= 1
    (tmp_path / "s.tar").write_bytes(data)
    with refused_as("unreadable-file"):
        _list(tmp_path)


def test_names_that_are_not_utf8_are_refused(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.USTAR_FORMAT, encoding="latin-1") as tar:
        info = tarfile.TarInfo("\xe9.png")
        tar.addfile(info)
    with refused_as("bad-name", "UTF-8"):
        _list(tmp_path)


def test_parquet_that_lies_is_refused(tmp_path):
    shard = tmp_path / "s.parquet"
    pq.write_table(pa.table({"image": pa.nulls(1_000_000, pa.binary())}), shard)
    with refused_as("unreadable-file", "1000000"):
        _list(tmp_path)
    pq.write_table(pa.table({"image": [1, 2]}), shard)
    with refused_as("no-such-column", "'image'"):
        _list(tmp_path)
    pq.write_table(pa.table({"image": [_png(i) for i in range(200)]}), shard, compression="none")
    data = bytearray(shard.read_bytes())
    data[4:3000] = b"\xff" * 2996
    shard.write_bytes(data)
    images = _list(tmp_path)
    with refused_as("unreadable-file"):
        _values(tmp_path, images, on_bad_image="skip")


def test_a_bad_image_stops_with_its_name(tmp_path):
    (tmp_path / "a.png").write_bytes(_png(1))
    (tmp_path / "b.png").write_bytes(b"hello")
    with refused_as("bad-image", "b.png"):
        _values(tmp_path, _list(tmp_path))
    assert _values(tmp_path, _list(tmp_path), on_bad_image="skip") == [1, "not an image"]


def test_fingerprint_changes_with_the_files(tmp_path):
    (tmp_path / "a.png").write_bytes(_png(1))
    before = fingerprint(Place.parse(str(tmp_path)), _list(tmp_path))
    assert before == fingerprint(Place.parse(str(tmp_path)), _list(tmp_path))
    (tmp_path / "b.png").write_bytes(_png(1))
    assert before != fingerprint(Place.parse(str(tmp_path)), _list(tmp_path))


def test_bad_sources(tmp_path):
    with refused_as("no-such-folder"):
        _list(tmp_path / "nowhere")
    with refused_as("no-images"):
        _list(tmp_path)
    pq.write_table(pa.table({"pixels": [b""]}), tmp_path / "s.parquet")
    with refused_as("no-such-column", "'image'"):
        _list(tmp_path)
    (tmp_path / "s.parquet").write_bytes(b"no parquet")
    with refused_as("unreadable-file"):
        _list(tmp_path)
    (tmp_path / "a.png").write_bytes(_png(1))
    with refused_as("unknown-name"):
        _list(tmp_path)


def _texts(source, rows=None):
    images = _list(source)
    prompts, labels = read_texts(Place.parse(str(source)), images if rows is None else images.take(rows))
    return prompts, {name: [None if value != value else value for value in values.tolist()] for name, values in labels.items()}


def test_prompts_and_labels_that_lie_beside_images_in_parquet(tmp_path):
    images = [_png(row) for row in range(5)]
    table = {"image": images, "prompt": ["a", None, "c", "d", "e"], "label.beard": [True, False, None, True, True]}
    pq.write_table(pa.table(table | {"label.who": ["x"] * 5}), tmp_path / "a.parquet", row_group_size=2)
    pq.write_table(pa.table({"image": images, "prompt": [1] * 5, "label.age": [9] * 5}), tmp_path / "b.parquet")
    assert _texts(tmp_path, [0, 1, 2, 4, 5]) == (
        ["a", "", "c", "e", ""],
        {"age": [None, None, None, None, 9.0], "beard": [1.0, 0.0, None, 1.0, None]},
    )


def test_captions_beside_images_in_tar_shards(tmp_path):
    texts = [
        ("0.txt", b"a caption"),
        ("1.json", b'{"prompt": "of json"}'),
        ("2.json", b"[" * 9000),
        ("3.txt", b"x" * (1 << 17)),
    ]
    _tar(tmp_path / "s.tar", [*[(f"{i}.png", _png(i)) for i in range(5)], *texts])
    assert _texts(tmp_path) == (["a caption", "of json", "", "", ""], {})


def test_images_in_a_folder_have_no_prompts_and_too_many_labels_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(_png(1))
    assert _texts(tmp_path) == ([""], {})
    pq.write_table(pa.table({"image": [_png(1)], **{f"label.{n}": [1] for n in range(1001)}}), tmp_path / "many.parquet")
    with refused_as("unreadable-file", "1001"):
        _texts(tmp_path / "many.parquet")
