"""Private images in a bucket become what the same files become that lie here, and leave nothing behind."""

import csv
import os

import numpy as np
import pytest
from bucket import BUCKET
from dicom_makers import encoded, made
from refusals import refused_as

from pd.config import parse_settings
from pd.config.mirrored import SCRATCH, in_words
from pd.dataset.ingest import fingerprint, ingest
from pd.dataset.readers import bucket
from pd.errors import UserError
from pd.stages.budget import count_people
from pd.store.atomic import make_folder
from pd.store.files import digest_folder
from pd.store.places import Place
from pd.store.scratch import make_scratch


@pytest.fixture
def home(s3, tmp_path, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PD_MIRROR", str(tmp_path / "mirror"))
    return tmp_path / "mirror"


def data(reader, path, **more):
    return parse_settings({"data": {"reader": reader, "path": str(path), "size": 16, **more}}).data


def test_a_folder(s3, home, people, tmp_path):
    folder = people().rename(tmp_path / "folder é")
    (folder / "notes.txt").write_text("no image")
    s3.upload(folder)
    mine = ingest(data("folder", folder), 1, tmp_path / "here")
    theirs = ingest(data("folder", f"s3://{BUCKET}/folder é"), 1, tmp_path / "there")
    assert theirs == mine
    assert digest_folder(tmp_path / "there") == digest_folder(tmp_path / "here")
    assert list(home.iterdir()) == []


def test_a_manifest(s3, home, people, tmp_path):
    folder = people().rename(tmp_path / "listed")
    with (folder / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "identity"])
        rows.writerows([path.relative_to(folder).as_posix(), path.parent.name] for path in sorted(folder.rglob("*.png")))
        rows.writerows([["gone.png", "x"], ["../../out.png", "y"]])
    s3.upload(folder)
    mine = ingest(data("manifest", folder / "list.csv", on_bad_image="skip"), 1, tmp_path / "here")
    theirs = ingest(data("manifest", f"s3://{BUCKET}/listed/list.csv", on_bad_image="skip"), 1, tmp_path / "there")
    assert theirs == mine
    assert len(mine.bad) == 2
    assert digest_folder(tmp_path / "there") == digest_folder(tmp_path / "here")


def test_changes_are_noticed_without_fetching(s3, home, people, tmp_path):
    folder = people().rename(tmp_path / "changing")
    s3.upload(folder)
    settings = data("folder", f"s3://{BUCKET}/changing")
    before = fingerprint(settings)
    assert fingerprint(settings) == before
    assert not home.exists()
    s3.put("changing/new/1.png", b"x")
    assert fingerprint(settings) != before


def test_a_bad_image_is_named_by_its_url(s3, home, people, tmp_path):
    folder = people().rename(tmp_path / "worse")
    (folder / "bad").mkdir()
    (folder / "bad" / "empty.png").touch()
    s3.upload(folder)
    with pytest.raises(UserError) as refused:
        ingest(data("folder", f"s3://{BUCKET}/worse"), 1, tmp_path / "there")
    assert in_words(str(refused.value)).startswith(f"s3://{BUCKET}/worse: 1 bad images (1 empty)")
    assert list(home.iterdir()) == []


def test_of_a_file_larger_than_an_image_may_be_not_all_is_fetched(s3, home, monkeypatch):
    s3.put("large/who/1.png", bytes(5000))
    monkeypatch.setattr(bucket, "largest_file", lambda settings: 1000)
    monkeypatch.setattr(bucket, "_PART", 512)
    with bucket.fetched(data("folder", f"s3://{BUCKET}/large")) as here:
        assert (here.path / "who" / "1.png").stat().st_size == 1024


def test_a_name_that_leads_out_is_refused(tmp_path):
    # moto's server resolves such names itself, S3 does not
    place = Place.parse(f"s3://{BUCKET}/evil")
    for name in ("p/../../out.png", "/p/x.png", "p/zero\0.png"):
        with refused_as("bad-name", f"s3://{BUCKET}/evil"):
            bucket._target(place, name, tmp_path)
    assert bucket._target(place, "p/x.png", tmp_path) == tmp_path / "p" / "x.png"


def test_what_a_killed_one_fetched_goes_before_and_what_a_living_one_did_stays(s3, home, people):
    s3.upload(people())
    make_folder(home)
    left, lock = make_scratch(SCRATCH, home)
    (left / "face.png").touch()
    asked = data("folder", f"s3://{BUCKET}/people")
    with bucket.fetched(asked):
        assert (left / "face.png").exists()
    os.close(lock)  # as at the end of its process, however that came
    with bucket.fetched(asked):
        assert not left.exists()
    assert list(home.iterdir()) == []


def test_nothing_there(home, tmp_path):
    with refused_as("no-such-file", f"s3://{BUCKET}/nothing"):
        ingest(data("folder", f"s3://{BUCKET}/nothing"), 1, tmp_path / "there")


def test_dicom(s3, home, tmp_path):
    for n in range(7):
        make_folder(tmp_path / "dicom" / f"st{n}")
        stored = np.random.default_rng(n).integers(0, 4096, (20, 20))
        (tmp_path / "dicom" / f"st{n}" / "IM1").write_bytes(encoded(made(stored, PatientID=f"p{n}")))
    s3.upload(tmp_path / "dicom")
    mine = ingest(data("dicom", tmp_path / "dicom"), 1, tmp_path / "here")
    assert ingest(data("dicom", f"s3://{BUCKET}/dicom"), 1, tmp_path / "there") == mine
    assert digest_folder(tmp_path / "there") == digest_folder(tmp_path / "here")


def test_people_are_counted_for_a_budget(s3, home, people, tmp_path):
    s3.upload(people(n=7).rename(tmp_path / "counted"))
    given = {"reader": "folder", "path": f"s3://{BUCKET}/counted", "size": 16, "holdout": 0.1}
    settings = parse_settings({"data": given, "runs": str(tmp_path / "runs")})
    # as ingest divides them, who holds out four at least
    assert count_people(settings) == 3
    assert ingest(settings.data, 1, tmp_path / "out").identities["member"] == 3
