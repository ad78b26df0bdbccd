import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from refusals import refused_as

from pd.config import DataSettings
from pd.dataset import ingest as module
from pd.dataset.ingest import fingerprint, ingest
from pd.dataset.private import PrivateDataset
from pd.errors import UserError
from pd.store.files import digest_folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def write_manifest(root, rows, columns="path,identity"):
    (root / "m.csv").write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    return root / "m.csv"


def rows_of(root):
    """A manifest row for each image of a `people` folder."""
    return [f"{path.relative_to(root)},{path.parent.name}" for path in sorted(root.glob("*/*.png"))]


def test_faces(out):
    report = ingest(DataSettings(), 7, out)
    data = PrivateDataset.read(out)
    assert data.images.shape == (400, 32, 32, 1)
    assert len(set(data.ids)) == 400
    assert report.identities == {"member": 20, "holdout": 20}
    assert report.images == {"member": 200, "holdout": 200}
    assert set(data.labels) == {"glasses", "beard", "moustache"}
    assert data.labels["glasses"].sum() == sum("glasses" in caption for caption in data.captions) > 0
    assert "a photo of a face" in data.captions


def test_equal_input_gives_equal_bytes_and_another_seed_other_people(people, settings, tmp_path):
    data = settings(path=people())
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        ingest(data, seed, tmp_path / name)
    assert digest_folder(tmp_path / "a") == digest_folder(tmp_path / "b")
    members = [set(PrivateDataset.read(tmp_path / name).members().identities) for name in "ac"]
    assert members[0] != members[1]


def test_every_person_is_on_one_side(people, settings, out):
    ingest(settings(path=people(n=9, each=3)), 1, out)
    data = PrivateDataset.read(out)
    assert not set(data.members().identities) & set(data.holdout().identities)
    assert len(data) == 27


def test_nothing_names_the_source(people, settings, out):
    ingest(settings(path=people()), 1, out)
    table = pq.read_table(out / "part-00000.parquet")
    assert [s["path"] for s in table["image"].to_pylist()] == [f"{name}.png" for name in table["id"].to_pylist()]
    assert sorted(path.name for path in out.iterdir()) == ["_ingest.json", "part-00000.parquet"]


def test_ids_follow_identity_and_path_not_the_folders_place(people, settings, tmp_path):
    root = people()
    ingest(settings(path=root), 1, tmp_path / "a")
    root.rename(tmp_path / "elsewhere")
    ingest(settings(path=tmp_path / "elsewhere"), 5, tmp_path / "b")
    assert PrivateDataset.read(tmp_path / "a").ids == PrivateDataset.read(tmp_path / "b").ids


def test_original_types_and_hugging_face(people, settings, out):
    root = people(n=6, each=1)
    rows = [f"{row},{i},{i % 2 == 0},{i}.5,site {i},2020-01-0{i + 1}" for i, row in enumerate(rows_of(root))]
    path = write_manifest(root, rows, "path,identity,age,left,weight,site,day")
    report = ingest(settings(reader="manifest", path=path), 1, out)
    schema = pq.read_schema(out / "part-00000.parquet")
    kinds = {"age": pa.int64(), "left": pa.bool_(), "weight": pa.float64(), "site": pa.string(), "day": pa.date32()}
    assert {name: schema.field(name).type for name in kinds} == kinds
    assert schema.names[:5] == ["id", "image", "identity", "split", "caption"]
    assert list(report.labels) == list(kinds)
    hub = datasets.load_dataset("parquet", data_files=str(out / "*.parquet"), split="train", cache_dir=str(out / "cache"))
    assert hub[0]["image"].size == (16, 16)
    assert hub[3]["age"] == 3


def test_captions(people, settings, out):
    root = people(n=6, each=1)
    captions = ["a smile", "", "  ", "x", "y", "z"]
    path = write_manifest(root, [f"{r},{c}" for r, c in zip(rows_of(root), captions, strict=True)], "path,identity,caption")
    report = ingest(settings(reader="manifest", path=path, caption="somebody"), 1, out)
    assert PrivateDataset.read(out).captions == ["a smile", "somebody", "somebody", "x", "y", "z"]
    assert report.default_captions == 2


def test_many_rows_go_to_shards(people, settings, out, monkeypatch):
    monkeypatch.setattr(module, "GROUP_ROWS", 4)
    monkeypatch.setattr(module, "SHARD_ROWS", 10)
    root = people(n=7, each=3)
    calls = []
    ingest(settings(path=root), 1, out, lambda done, total, info: calls.append((done, total)))
    assert [pq.read_metadata(file).num_rows for file in sorted(out.glob("*.parquet"))] == [8, 8, 5]
    assert len(set(PrivateDataset.read(out).ids)) == 21
    assert calls == [(i, 21) for i in range(1, 22)]


def spoil(root):
    """Nine kinds of bad images in a folder of people, as the manifest lists them; returns its rows."""
    rows = rows_of(root)
    whole = (root / "p0" / "0.png").read_bytes()
    (root / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "empty.png").touch()
    (root / "text.png").write_text("hello")
    Image.new("L", (300, 300)).save(root / "huge.png")
    Image.open(root / "p0" / "0.png").save(root / "again.bmp")
    (root.parent / "secret.png").write_bytes(whole)
    (root / "link.png").symlink_to(root.parent / "secret.png")
    return [
        *rows[:3],
        "cut.png,p0",
        *rows[3:],
        *("empty.png,p0", "text.png,p1", "huge.png,p1", "none.png,p2", "../secret.png,p2", "link.png,p2"),
        *(rows[0], "again.bmp,p3", "p0/0.png,"),
    ]


BAD = {
    "truncated": 1,
    "empty": 1,
    "not an image": 1,
    "too large": 1,
    "missing": 1,
    "outside the folder": 2,
    "duplicate": 2,
    "no identity": 1,
}


def test_bad_images_stop_the_run(people, settings, out):
    root = people()
    path = write_manifest(root, spoil(root))
    with pytest.raises(UserError) as caught:
        ingest(settings(reader="manifest", path=path, max_pixels=10_000), 1, out)
    text = str(caught.value)
    assert "10 bad images" in text
    assert "the first: cut.png (row 4): truncated" in text
    assert all(f"{count} {reason}" in text for reason, count in BAD.items())
    assert "data.on_bad_image" in text
    assert "\n" not in text
    assert list(out.iterdir()) == []


def test_bad_images_are_set_aside_and_named(people, settings, out):
    root = people()
    path = write_manifest(root, spoil(root))
    report = ingest(settings(reader="manifest", path=path, max_pixels=10_000, on_bad_image="skip"), 1, out)
    assert report.facts()["bad"] == BAD
    assert {(row.name, row.number) for row in report.bad if row.reason == "duplicate"} == {
        ("p0/0.png", 24),
        ("again.bmp", 25),
    }
    assert next(row for row in report.bad if row.reason == "duplicate").detail == "the same picture as row 1"
    assert len(PrivateDataset.read(out)) == sum(report.images.values()) == 16
    written = json.loads((out / "_ingest.json").read_text())
    assert len(written["bad"]) == 10
    assert written["bad"][0] == {"name": "cut.png", "row": 4, "reason": "truncated", "detail": ""}
    assert any("10 set aside" in line for line in report.lines())
    assert all("\n" not in line for line in report.lines())


def test_one_picture_under_two_names_is_a_duplicate(people, settings, out):
    root = people()
    (root / "p1" / "copy.png").write_bytes((root / "p0" / "0.png").read_bytes())
    with refused_as("bad-image", "1", "p1/copy.png", "p0/0.png"):
        ingest(settings(path=root), 1, out)


def test_people_with_one_image(people, settings, out, tmp_path):
    root = people(n=8)
    (root / "p3" / "1.png").unlink()
    report = ingest(settings(path=root), 1, out)
    assert report.lone == ["p3"]
    assert any("1 people have one image: p3" in line for line in report.lines())
    with refused_as("bad-image", "1", "p3/0.png", "data.min_images", "2"):
        ingest(settings(path=root, min_images=2), 1, tmp_path / "b")
    report = ingest(settings(path=root, min_images=2, on_bad_image="skip"), 1, tmp_path / "c")
    assert report.lone == []  # set aside, and told among the bad ones
    assert "p3" not in PrivateDataset.read(tmp_path / "c").identities
    assert sum(report.identities.values()) == 7


def test_too_few_people(people, settings, out):
    root = people(n=5)
    with refused_as("too-few-people", "5", "6"):
        ingest(settings(path=root), 1, out)
    path = write_manifest(root, [row for row in rows_of(root) if row.endswith("p0")])
    with refused_as("too-few-people", "'p0'"):
        ingest(settings(reader="manifest", path=path), 1, out)


def test_no_usable_image(people, settings, out):
    root = people(n=1)
    path = write_manifest(root, ["none.png,a", "none.png,b"])
    with refused_as("no-images", "2"):
        ingest(settings(reader="manifest", path=path, on_bad_image="skip"), 1, out)


def with_splits(root, words):
    rows = [f"{row},{words[row.rsplit(',', 1)[1]]}" for row in rows_of(root)]
    return write_manifest(root, rows, "path,identity,split")


def test_the_split_column_decides(people, settings, out):
    root = people(n=7)
    words = {f"p{i}": "member" if i < 3 else "holdout" for i in range(7)}
    report = ingest(settings(reader="manifest", path=with_splits(root, words)), 1, out)
    assert set(PrivateDataset.read(out).members().identities) == {"p0", "p1", "p2"}
    assert report.identities == {"member": 3, "holdout": 4}


@pytest.mark.parametrize("word", ["train", "", "Member"])
def test_unknown_split(word, people, settings, out):
    root = people(n=7)
    words = {f"p{i}": "member" if i < 3 else "holdout" for i in range(7)} | {"p2": word}
    with refused_as("bad-row", "5", f"'{word}'", "data.columns.members"):
        ingest(settings(reader="manifest", path=with_splits(root, words), on_bad_image="skip"), 1, out)


def test_words_that_mean_member_and_are_not_there_are_named(people, settings, out):
    root = people(n=7)
    path = with_splits(root, {f"p{i}": "train" if i < 3 else "test" for i in range(7)})
    with refused_as("bad-options", "data.columns.members"):
        ingest(settings(reader="manifest", path=path, columns={"members": ["Train"]}), 1, out)
    ingest(settings(reader="manifest", path=path, columns={"members": ["train"]}), 1, out)


def test_a_person_on_both_sides(people, settings, out):
    root = people(n=2)
    rows = [f"{row},{'member' if i < 3 else 'holdout'}" for i, row in enumerate(rows_of(root))]
    path = write_manifest(root, rows, "path,identity,split")
    with refused_as("bad-row", "4", "'p1'"):
        ingest(settings(reader="manifest", path=path), 1, out)


def test_a_split_column_without_holdout(people, settings, out):
    root = people(n=7)
    path = with_splits(root, {f"p{i}": "member" for i in range(7)})
    with refused_as("too-few-people", "0", "'holdout'"):
        ingest(settings(reader="manifest", path=path), 1, out)


def test_images_inside_parquet_and_the_way_back(people, settings, tmp_path):
    """What ingest wrote is a manifest itself."""
    ingest(settings(path=people()), 1, tmp_path / "a")
    again = settings(reader="manifest", path=tmp_path / "a" / "part-00000.parquet")
    ingest(again, 99, tmp_path / "b")
    one, two = PrivateDataset.read(tmp_path / "a"), PrivateDataset.read(tmp_path / "b")
    assert np.array_equal(one.images, two.images)
    assert one.splits == two.splits
    assert pq.read_table(tmp_path / "b" / "part-00000.parquet")["source_id"].to_pylist() == one.ids


def test_settings_that_name_no_source(settings, out, tmp_path):
    with refused_as("bad-options", "data.path"):
        ingest(settings(), 1, out)
    with refused_as("bad-options", "data.reader"):
        ingest(settings(reader="faces", path=tmp_path), 1, out)


def test_fingerprint_follows_the_files(people, settings, photo):
    root = people()
    path = write_manifest(root, rows_of(root))
    by_folder, by_manifest = settings(path=root), settings(reader="manifest", path=path)
    before = [fingerprint(by_folder), fingerprint(by_manifest)]
    assert [fingerprint(by_folder), fingerprint(by_manifest)] == before
    photo(999, 30, 30).save(root / "p0" / "0.png")
    after = [fingerprint(by_folder), fingerprint(by_manifest)]
    assert after[0] != before[0]
    assert after[1] != before[1]
    (root / "p0" / "0.png").unlink()
    assert fingerprint(by_folder) != after[0]
    assert fingerprint(by_manifest) != after[1]


def test_rgb(people, settings, photo, out):
    root = people(n=6, each=1)
    for i in range(6):
        photo(i, 16, 16, "RGB").save(root / f"p{i}" / "0.png")
    report = ingest(settings(path=root, mode="rgb"), 1, out)
    data = PrivateDataset.read(out)
    assert np.array_equal(data.images[2], np.asarray(photo(2, 16, 16, "RGB")))
    assert (report.coloured, report.shrunk) == (0, 0)


def test_what_size_and_mode_take_away_is_counted(people, settings, photo, out):
    root = people(n=6, each=1)  # 20 x 20, grey
    for i in range(3):
        photo(i, 16, 16, "RGB").save(root / f"p{i}" / "0.png")
    photo(3, 16, 16).convert("RGB").save(root / "p3" / "0.png")  # grey, whatever its file says
    report = ingest(settings(path=root), 1, out)
    assert (report.coloured, report.shrunk) == (3, 2)
    assert report.facts()["split_drawn"] is True


def test_images_smaller_than_the_size_are_counted_and_far_smaller_ones_are_bad(people, settings, photo, out, tmp_path):
    root = people(n=7, each=2)
    photo(900, 16, 30).save(root / "p0" / "0.png")
    data = settings(path=root, size=24)  # the others are 20 x 20
    report = ingest(data, 1, out)
    assert report.facts()["enlarged"] == 14
    assert any("14 images are smaller than data.size" in line for line in report.lines())
    photo(901, 11, 40).save(root / "p1" / "0.png")
    with refused_as("bad-image", "1", "p1/0.png", "11x40", "data.size", "24"):
        ingest(data, 1, tmp_path / "b")
    report = ingest(settings(path=root, size=24, on_bad_image="skip"), 1, tmp_path / "c")
    assert report.facts()["bad"] == {"too small": 1}
    assert report.facts()["enlarged"] == 13
    report = ingest(settings(path=root, size=24, resize="pad"), 1, tmp_path / "d")  # by its longer side
    assert report.facts()["enlarged"] == 12
    assert ingest(settings(path=root), 1, tmp_path / "e").facts()["enlarged"] == 1


def test_where_pd_lies_does_not_change_what_it_brings(tmp_path):
    """A job of a cluster unpacks pd anew: its faces are the same."""
    import pd

    copy = tmp_path / "pd"
    shutil.copytree(Path(pd.__file__).parent, copy, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("__pycache__"))
    ask = "from pd.config import DataSettings; from pd.dataset.ingest import fingerprint; print(fingerprint(DataSettings()))"
    found = {
        subprocess.run(
            [sys.executable, "-c", ask], env=os.environ | {"PYTHONPATH": str(place.parent)}, capture_output=True, text=True
        ).stdout
        for place in (copy, Path(pd.__file__).parent)
    }
    assert len(found) == 1
    assert len(found.pop().strip()) == 16


@pytest.mark.parametrize("second", ["Jose\u0301", "Jos\u00e9"])
def test_one_person_whose_name_is_encoded_in_two_ways_is_one(people, settings, out, second):
    root = people(n=8, each=2)
    rows = [row.replace(",p0", ",Jos\u00e9").replace(",p1", f",{second}") for row in rows_of(root)]
    ingest(settings(reader="manifest", path=write_manifest(root, rows)), 1, out)
    data = PrivateDataset.read(out)
    assert data.identities.count("Jos\u00e9") == 4
    assert len({split for who, split in zip(data.identities, data.splits, strict=True) if who == "Jos\u00e9"}) == 1


def test_both_sides_are_refused_however_the_name_is_encoded(people, settings, out):
    root = people(n=8, each=2)
    sides = ["member", "holdout", "member", "holdout", "member", "holdout", "holdout", "holdout"]
    names = ["Jos\u00e9", "Jose\u0301", *(f"p{i}" for i in range(2, 8))]
    rows = [f"p{i}/{j}.png,{names[i]},{sides[i]}" for i in range(8) for j in range(2)]
    with refused_as("bad-row"):
        ingest(settings(reader="manifest", path=write_manifest(root, rows, "path,identity,split")), 1, out)


def test_people_whose_names_differ_in_case_or_spaces_alone_are_named(people, settings, out):
    root = people(n=8, each=2)
    rows = [row.replace(",p0", ",Anna B").replace(",p1", ",anna  b") for row in rows_of(root)]
    report = ingest(settings(reader="manifest", path=write_manifest(root, rows)), 1, out)
    assert report.alike == [["Anna B", "anna  b"]]
    assert any("'Anna B' and 'anna  b': different people here" in line for line in report.lines())
    assert report.facts()["identities_alike"] == 2
