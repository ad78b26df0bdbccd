"""Images of an option, in every form: what is read as it lies, and what a reader brings in."""

import json
import shutil

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from bucket import BUCKET
from dicom_makers import encoded, made
from PIL import Image
from refusals import refused_as
from small_clips import world

from pd.config import DataSettings
from pd.dataset import readable
from pd.dataset.decode import decode
from pd.dataset.external import read_images
from pd.dataset.readable import FOLDER, Readable, bring_in, layout, reading
from pd.store.places import Place


def settings(**keys):
    return DataSettings.model_validate({"size": 16, **keys})


def open_(source, tmp_path, **keys):
    place = Place.parse(str(source))
    how = reading(place, settings(**keys))
    return Readable.as_it_lies(place) if how is None else bring_in(place, how, tmp_path / "work")


def pixels(given, **keys):
    return dict(read_images(given.place, given.images, settings(**keys)))


@pytest.fixture
def scans(tmp_path):
    """Six DICOM files of three patients, two folders; without suffix."""
    for n in range(6):
        path = tmp_path / "scans" / "ab"[n % 2] / f"IM{n}"
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = np.random.default_rng(n).integers(0, 4096, (20, 20))
        path.write_bytes(encoded(made(stored, PatientID=f"00{n // 2}", PatientSex="MF"[n % 2], PatientAge=f"0{40 + n}Y")))
    return tmp_path / "scans"


@pytest.mark.parametrize("kind", ["images", "imagefolder", "parquet", "tar"])
def test_what_could_always_be_read_is_read_as_it_lies(kind, photo, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    if kind in ("images", "imagefolder"):
        photo(1).save(folder / "1.png")
        (folder / "scan.dcm").write_bytes(b"")
    if kind == "imagefolder":
        (folder / "metadata.jsonl").write_text('{"file_name": "1.png", "identity": "x"}\n')
    if kind in ("parquet", "tar"):
        (folder / f"x.{kind}").touch()
        (folder / "state.json").touch()
    assert reading(Place.parse(str(folder)), settings()) is None


def test_dicom_is_seen_and_decoded_as_private_dicom_is(scans, tmp_path):
    given = open_(scans, tmp_path, columns={"labels": ["PatientSex", "PatientAge"]})
    assert given.images.ids == ["a/IM0", "a/IM2", "a/IM4", "b/IM1", "b/IM3", "b/IM5"]
    assert given.people() == ["000", "001", "002", "000", "001", "002"]
    _, labels = given.labelled()
    assert labels == {"PatientSex": [*"MMMFFF"], "PatientAge": [40, 42, 44, 41, 43, 45]}
    _, numbers = given.texts(given.images.take([0, 3]))
    assert {name: values.tolist() for name, values in numbers.items()} == {
        "PatientAge": [40, 41], "PatientSex=F": [0, 1], "PatientSex=M": [1, 0],
    }  # fmt: skip
    assert given.values("PatientSex", "identity")[0] == {"identity": "000", "PatientSex": "M"}
    assert given.lines[0].startswith("headers cannot tell")
    assert pixels(given)["a/IM2"].shape == (16, 16, 1)
    assert given.images.take([3]).ids == ["b/IM1"]


def test_without_labels_the_folder_is_one_and_nobody_need_be_named(tmp_path):
    for n, who in enumerate(("", "", "")):
        path = tmp_path / "scans" / ("x" if n else "y") / f"{n}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(made(np.random.default_rng(n).integers(0, 256, (20, 20)), PatientID=who)))
    given = open_(tmp_path / "scans", tmp_path)
    assert given.people() is None
    assert given.labelled()[1] == {FOLDER: ["x", "x", "y"]}


def test_a_table_with_prompts_labels_and_doubled_rows(photo, tmp_path):
    for n in range(3):
        photo(n).save(tmp_path / f"{n}.png")
    lines = ["path;prompt;glasses;label.age", "0.png;a face;1;7", "1.png;;0;", "2.png;a hat;;9", "0.png;again;1;7"]
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-16")
    given = open_(tmp_path / "list.csv", tmp_path)
    assert given.images.ids == ["0.png", "1.png", "2.png", "0.png#2"]
    assert given.labelled() == (["a face", "", "a hat", "again"], {"glasses": [1, 0, None, 1], "age": [7, None, 9, 7]})
    assert given.people() is None
    found = pixels(given)
    assert np.array_equal(found["0.png"], decode((tmp_path / "0.png").read_bytes(), settings()).pixels)
    assert np.array_equal(found["0.png"], found["0.png#2"])


def test_some_without_a_name_is_refused_where_people_count(photo, tmp_path):
    photo(0).save(tmp_path / "0.png")
    photo(1).save(tmp_path / "1.png")
    (tmp_path / "list.jsonl").write_text('{"path": "0.png", "identity": "x"}\n{"path": "1.png"}\n')
    with refused_as("bad-row", "1"):
        open_(tmp_path / "list.jsonl", tmp_path).people()


def test_save_to_disk_with_classes_by_name(tmp_path):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    images = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (16, 16), np.uint8)) for n in range(4)]
    datasets.Dataset.from_dict({"image": images, "label": [0, 1, 0, 1]}, features=features).save_to_disk(tmp_path / "set")
    given = open_(tmp_path / "set", tmp_path)
    assert given.labelled()[1] == {"label": ["cat", "dog", "cat", "dog"]}
    assert np.array_equal(pixels(given)[given.images.ids[2]][:, :, 0], np.asarray(images[2]))


def test_clips_of_whoever_is_named_and_of_nobody(tmp_path):
    how = {"video": {"rate": 5, "face": "centre", "thin": 0}}
    world(tmp_path / "clips", people=1, clips=1, seconds=0.6)
    shutil.copy(tmp_path / "clips" / "p00" / "clip0.mp4", tmp_path / "clips" / "lone.mp4")
    given = open_(tmp_path / "clips", tmp_path, **how)
    who = given.people()
    assert "p00" in who
    assert len(set(who)) == 2  # the frames of a clip are of one person
    assert {name.partition(" at ")[0] for name in given.images.ids} == {"lone.mp4", "p00/clip0.mp4"}


def test_columns_and_parts_of_paths_that_are_named_are_asked_for(people, tmp_path):
    folder = people(n=2)
    given = open_(folder, tmp_path, identity_from=1)
    assert given.people() == ["p0", "p0", "p1", "p1"]
    assert given.labelled()[1] == {FOLDER: ["p0", "p0", "p1", "p1"]}
    assert open_(folder, tmp_path).how is None


def test_report_labels_are_read_as_asked(photo, tmp_path):
    for n in range(3):
        photo(n).save(tmp_path / f"{n}.png")
    (tmp_path / "list.csv").write_text("path,Edema\n0.png,-1\n1.png,1\n2.png,\n")
    assert open_(tmp_path / "list.csv", tmp_path).labelled()[1] == {"Edema": [-1, 1, None]}
    asked = open_(tmp_path / "list.csv", tmp_path, uncertain="positive", unmentioned="negative")
    assert asked.labelled()[1] == {"Edema": [1, 1, 0]}


def test_what_was_read_is_found_again_and_anything_else_is_not(scans, tmp_path, monkeypatch):
    first = open_(scans, tmp_path)
    decoded = []
    real = readable.decoded_rows
    monkeypatch.setattr(readable, "decoded_rows", lambda *told: decoded.append(1) or real(*told))
    assert open_(scans, tmp_path).images.ids == first.images.ids
    assert not decoded
    (scans / "b" / "IM5").unlink()
    assert len(open_(scans, tmp_path).images) == 5
    open_(scans, tmp_path, mode="rgb")
    assert len(decoded) == 2
    assert len(list((tmp_path / "work").iterdir())) == 1


def test_who_is_killed_while_reading_leaves_nothing_that_counts(scans, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(readable, "write_json", stopped)
        with pytest.raises(KeyboardInterrupt):
            open_(scans, tmp_path)
    (tmp_path / "work" / ".left.1234.partial").mkdir(parents=True)  # by kill -9
    assert len(open_(scans, tmp_path).images) == 6
    assert len(list((tmp_path / "work").iterdir())) == 1


def test_bad_images_are_counted_and_named(scans, tmp_path):
    (scans / "a" / "bad.dcm").write_bytes(b"no DICOM")
    with refused_as("bad-image", "1", "a/bad.dcm"):
        open_(scans, tmp_path)
    given = open_(scans, tmp_path, on_bad_image="skip")
    assert len(given.images) == 6
    assert given.lines[0].startswith("1 set aside (1 not an image): a/bad.dcm")
    for file in scans.rglob("IM*"):
        file.unlink()
    with refused_as("no-images", "1"):
        open_(scans, tmp_path, reader="dicom", on_bad_image="skip")


def test_columns_of_other_images_count_where_they_are(photo, tmp_path):
    photo(0).save(tmp_path / "0.png")
    (tmp_path / "list.csv").write_text("path,prompt\n0.png,a face\n")
    place = Place.parse(str(tmp_path / "list.csv"))
    how = reading(place, settings(columns={"identity": "Fall"}))
    given = bring_in(place, how, tmp_path / "work", foreign_columns=True)
    assert given.labelled()[0] == ["a face"]
    with refused_as("no-such-column", "'Fall'"):
        bring_in(place, how, tmp_path / "work")


def test_a_draw_reads_so_many_of_all(photo, tmp_path):
    for n in range(20):
        photo(n).save(tmp_path / f"{n:02}.png")
    (tmp_path / "list.csv").write_text("path\n" + "".join(f"{n:02}.png\n" for n in range(20)))
    place = Place.parse(str(tmp_path / "list.csv"))
    drawn = np.sort(np.random.default_rng(3).permutation(20)[:5])
    given = bring_in(place, reading(place, settings()), tmp_path / "work", draw=(5, 3))
    assert given.images.ids == [f"{n:02}.png" for n in drawn]


def test_shards_follow_one_another(photo, tmp_path, monkeypatch):
    monkeypatch.setattr(readable, "GROUP", 2)
    monkeypatch.setattr(readable, "SHARD_ROWS", 4)
    for n in range(9):
        photo(n).save(tmp_path / f"{n}.png")
    (tmp_path / "list.csv").write_text("path,n\n" + "".join(f"{n}.png,{n}\n" for n in range(9)))
    given = open_(tmp_path / "list.csv", tmp_path)
    assert [name.partition("#")[0] for name in given.images.names] == [f"part-0000{n // 4}.parquet" for n in range(9)]
    assert given.labelled()[1] == {"n": list(range(9))}
    assert list(pixels(given)) == [f"{n}.png" for n in range(9)]


def test_names_of_readers_and_presets():
    assert layout("dicom") == {"reader": "dicom"}
    assert layout("celeba") == {"preset": "celeba"}
    with refused_as("unknown-name", "'dicm'"):
        layout("dicm")


@pytest.mark.parametrize("kind", ["dicom", "table"])
def test_a_bucket(kind, s3, scans, photo, tmp_path, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PD_MIRROR", str(tmp_path / "mirror"))
    there = tmp_path / f"readable-{kind}"
    if kind == "dicom":
        scans.rename(there)
        for file in [*there.rglob("IM*")]:
            file.rename(file.with_suffix(".dcm"))
    else:
        there.mkdir()
        photo(0).save(there / "0.png")
        (there / "list.csv").write_text("path,glasses\n0.png,1\n")
    s3.upload(there)
    inner = "/list.csv" if kind == "table" else ""
    mine = open_(f"{there}{inner}", tmp_path)
    theirs = open_(f"s3://{BUCKET}/readable-{kind}{inner}", tmp_path / "other")
    assert theirs.images.ids == mine.images.ids
    assert theirs.place.text == f"s3://{BUCKET}/readable-{kind}{inner}"
    tables = [pq.read_table(next((here / "work").glob("*/*.parquet"))) for here in (tmp_path, tmp_path / "other")]
    assert tables[0].equals(tables[1])
    assert list((tmp_path / "mirror").iterdir()) == []
    if kind == "dicom":  # what lies there is seen anew
        s3.put(f"readable-{kind}/more.dcm", encoded(made(np.full((20, 20), 7), PatientID="9")))
        assert len(open_(theirs.place.text, tmp_path / "other").images) == 7


def test_what_was_left_out_is_said_again_when_it_is_found_again(scans, tmp_path):
    (scans / "notes.txt").write_text("x")
    lines = open_(scans, tmp_path).lines
    assert any("1 .txt" in line for line in lines)
    assert open_(scans, tmp_path).lines == lines
    assert json.loads(next((tmp_path / "work").glob("*/_lines.json")).read_text()) == list(lines)


def test_bad_addresses_are_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("path\nx.png\n")
    with refused_as("no-such-folder"):
        open_(tmp_path / "none", tmp_path)
    with refused_as("no-images"):
        open_(tmp_path / "empty", tmp_path)
    with refused_as("no-such-column", "'Hut'"):
        open_(tmp_path / "list.csv", tmp_path, columns={"identity": "Hut"})
