"""Data, licence and bucket, as `pd doctor` looks at them."""

import os
from pathlib import Path

import pytest
from bucket import s3_server
from PIL import Image
from pyarrow import fs
from refusals import refused_as

from pd.config import parse_settings
from pd.doctor.bucket import bucket
from pd.doctor.data import data
from pd.doctor.examine import examine
from pd.doctor.licence import licence, licences
from pd.errors import UserError


def people(root: Path, count: int) -> Path:
    for person in range(count):
        (root / f"p{person}").mkdir(parents=True)
        for image in range(3):
            Image.new("L", (40, 40), person * 20 + image).save(root / f"p{person}" / f"{image}.png")
    return root


def folder_settings(path: Path) -> object:
    return parse_settings({"data": {"reader": "folder", "path": str(path)}}, where="here").data


def test_images_are_read_and_bad_ones_counted_without_their_names(tmp_path: Path) -> None:
    folder = people(tmp_path / "people", 4)
    (found,) = data(folder_settings(folder))  # type: ignore[arg-type]
    assert found.says == "12 images are listed; 12 of them, of 4 people, were read"
    (folder / "p3" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (found,) = data(folder_settings(folder))  # type: ignore[arg-type]
    assert found.state == "todo"
    assert "of 12 of 12 images 1 cannot be used" in found.says
    assert "p3" not in found.says + found.fix
    with pytest.raises(UserError):
        data(folder_settings(tmp_path / "none"))  # type: ignore[arg-type]
    (found,) = data(folder_settings(people(tmp_path / "one", 1)))  # type: ignore[arg-type]
    assert "show one person" in found.says


@pytest.mark.parametrize(
    ("front", "state", "says"),
    [
        ("license: apache-2.0", "ok", "apache-2.0"),
        ("license: creativeml-openrail-m", "ok", "its rules of use go along"),
        ("license: cc-by-nc-4.0", "todo", "no commercial use"),
        ("license: other\nlicense_name: house-rules", "todo", "house-rules, which pd does not know"),
        ("tags: [x]", "todo", "its card names none"),
        ("license: [", "todo", "its card names none"),
    ],
)
def test_the_licence_of_a_base(tmp_path: Path, front: str, state: str, says: str) -> None:
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n# A model\nlicense: mit\n")
    found = licence(str(tmp_path))
    assert (found.state, says in found.says) == (state, True), found


def test_bases_without_a_card_or_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert licence(str(tmp_path)).state == "todo"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert licence("owner/name").state == "left out"
    assert [one.state for one in licences(parse_settings({}, where="here"))] == ["left out"]


def test_a_bucket_is_written_read_listed_and_left_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server("moto") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        found = bucket("s3://theirs/runs")
        assert [(one.check, one.state) for one in found] == [("bucket", "ok"), ("clock of the bucket", "ok")]
        monkeypatch.setattr("pd.doctor.bucket.time.time", lambda: os.stat("/").st_ctime - 10**6)
        assert bucket("s3://theirs/runs")[1].state == "todo"
        monkeypatch.undo()
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        listed = server.s3.get_file_info(fs.FileSelector("theirs", recursive=True))
        assert not [one.path for one in listed if one.is_file]
        with refused_as("storage-failed"):
            bucket("s3://nobodys/runs")


def test_all_checks_of_a_run_end_without_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pd.doctor.cluster.cluster_address", lambda address: address)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    run = {"runs": str(tmp_path / "runs"), "data": {"reader": "folder", "path": str(tmp_path / "none")}}
    settings = parse_settings(run | {"cluster": {"address": "http://127.0.0.1:1"}}, where="here")
    found = {one.check: one.state for one in examine(settings)}
    assert found["data"] == found["job server"] == "todo"
    assert found["runs"] == "ok"
    assert found["cluster"] == "left out"
