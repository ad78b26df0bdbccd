"""Clips as private images: one person's clip on one side, repeats thinned, bad clips named."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
from refusals import refused_as
from small_clips import encode, moving, world

from pd.config import DataSettings, VideoSettings
from pd.dataset.clips import list_clips
from pd.dataset.ingest import fingerprint, ingest
from pd.dataset.private import CLIP, PrivateDataset
from pd.dataset.readers.video import video

HOW = VideoSettings(rate=5, face="centre")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return world(tmp_path_factory.mktemp("clips"), people=6, clips=2, seconds=1.0)


def settings(path, **how):
    return DataSettings(reader="video", path=path, size=32, video=how.pop("video", HOW), **how)


def test_frames_are_images_with_a_clip_id_and_a_clip_has_one_side(clips, tmp_path):
    report = ingest(settings(clips), 7, tmp_path / "out")
    real = PrivateDataset.read(tmp_path / "out")
    assert set(real.identities) == {f"p{n:02}" for n in range(6)}
    assert len(set(real.texts[CLIP])) == 12
    assert real.labels == {}  # a clip's name is no label
    sides = {}
    for clip, split in zip(real.texts[CLIP], real.splits, strict=True):
        sides.setdefault(clip, set()).add(split)
    assert all(len(side) == 1 for side in sides.values())
    assert sum(report.images.values()) == len(real) <= 60
    assert report.facts()["of_clips"]["frames nearly the same as another of their clip"] == 60 - len(real)


def test_frames_that_hardly_differ_are_thinned(tmp_path):
    still = np.concatenate([moving(0, seconds=0.04)] * 25 + [moving(1, seconds=0.04)] * 25)
    encode(tmp_path / "a" / "x.mp4", still)
    rows = list(video(settings(tmp_path)).rows())
    assert len(rows) == 2


def test_a_manifest_names_parts_of_clips(clips, tmp_path):
    rows = [
        "path,identity,start,end,colour",
        "p00/clip0.mp4,ann,0,0.5,red",
        "p00/clip0.mp4,bob,0.5,,blue",
        "p01/clip0.mp4,ann,x,,",
    ]
    (clips / "m.csv").write_text("\n".join(rows) + "\n")
    found = list(video(settings(clips / "m.csv", video=VideoSettings(rate=5, face="centre", thin=0))).rows())
    assert [row.identity for row in found[:-1]] == ["ann"] * 3 + ["bob"] * 3
    assert found[0].labels["colour"] == "red"
    assert len({row.labels[CLIP] for row in found[:-1]}) == 2
    assert found[-1].reason == "unsupported"


def test_folders_inside_those_of_people_are_refused_unless_it_is_said_which_names_one(tmp_path):
    world(tmp_path / "p10", people=2, clips=1, seconds=0.2)
    with refused_as("ambiguous-layout", "1", "'p10/p00'"):
        video(settings(tmp_path))
    assert [clip.identity for clip in list_clips(tmp_path, settings(tmp_path, identity_from=2)).clips] == ["p00", "p01"]
    assert len(list_clips(tmp_path, needs_identity=False).clips) == 2  # of nobody's clips no folder is a person


def test_named_labels_leave_the_seconds(clips):
    (clips / "named.csv").write_text("path,identity,start,end,colour,size\np00/clip0.mp4,ann,0.25,0.5,red,3\n")
    found = list_clips(clips / "named.csv", settings(clips, columns={"labels": ["colour"]}))
    assert (found.clips[0].start, found.clips[0].end) == (0.25, 0.5)
    assert list(found.labels) == ["colour"]
    assert found.clips[0].labels == {"colour": "red"}


@pytest.mark.parametrize("how", [{}, {"columns": {"labels": ["colour"]}}])
@pytest.mark.parametrize("second", ["00:00:05", "00:00:05.5", "2026-01-01", "true", "soon"])
def test_seconds_that_are_no_numbers_are_refused(clips, second, how):
    (clips / "clock.csv").write_text(f"path,identity,start,end,colour\np00/clip0.mp4,ann,{second},,red\n")
    with refused_as("bad-column", "'start'") as error:
        list_clips(clips / "clock.csv", settings(clips, **how))
    assert "write seconds: 65.5, not 00:01:05" in str(error.value)


def test_seconds_of_two_people_are_refused(clips):
    (clips / "two.csv").write_text("path,identity,start,end\np00/clip0.mp4,ann,0,0.6\np00/clip0.mp4,bob,0.5,1\n")
    with refused_as("shared-people"):
        list_clips(clips / "two.csv")


def test_bad_clips_stop_or_are_counted(clips, tmp_path):
    for person in range(6):
        (tmp_path / f"p{person}").mkdir()
        (tmp_path / f"p{person}" / "a.mp4").write_bytes((clips / f"p{person:02}" / "clip0.mp4").read_bytes())
    (tmp_path / "p0" / "broken.mp4").write_bytes(b"nothing" * 99)
    encode(tmp_path / "p1" / "sound.mp4", None, sound=True)
    with refused_as("bad-image", "2"):
        ingest(settings(tmp_path), 7, tmp_path / "out")
    report = ingest(settings(tmp_path, on_bad_image="skip"), 7, tmp_path / "again")
    assert report.facts()["bad"] == {"not a video": 1, "no picture": 1}


def test_what_is_no_clip_by_its_name_is_counted(clips, tmp_path):
    shutil.copytree(clips, tmp_path / "clips", ignore=shutil.ignore_patterns("*.csv"))
    for name in ("p00/a.MTS", "p00/b.mts", "notes.txt", "p01/none"):
        (tmp_path / "clips" / name).write_bytes(b"x")
    report = ingest(settings(tmp_path / "clips"), 7, tmp_path / "out")
    assert report.ignored == {".mts": 2, ".txt": 1, "no suffix": 1}
    assert any(
        line.startswith("left out, no clips by their name: 2 .mts, 1 .txt, 1 no suffix (read are .mp4")
        for line in report.lines()
    )


def test_why_a_part_cannot_be_read(clips):
    (clips / "m.csv").write_text("path,identity,start,end\np00/clip0.mp4,p,1,0.5\np00/clip0.mp4,p,50,60\n")
    backwards, beyond = video(settings(clips / "m.csv")).rows()
    assert (backwards.reason, backwards.detail) == ("unsupported", "no path to a file, or an end that is not after its start")
    assert (beyond.reason, beyond.detail.endswith("its part begins at 50 s")) == ("too short", True)
    (clips / "m.csv").unlink()


def test_no_clip_is_one_line(tmp_path):
    with refused_as("no-images"):
        video(settings(tmp_path))
    with refused_as("no-such-folder"):
        video(settings(tmp_path / "none"))


def test_a_clip_that_changes_changes_the_fingerprint(clips):
    before = fingerprint(settings(clips))
    encode(clips / "p05" / "clip1.mp4", moving(5, seconds=1.0, seed=9))
    assert fingerprint(settings(clips)) != before


@pytest.fixture
def ray_ends():
    """Other files' tests start a Ray of their own in this process."""
    yield
    ray.shutdown()


def test_shards_by_workers_are_the_same_rows(clips, tmp_path, monkeypatch, ray_ends):
    from pd.dataset.clips import ClipFrames
    from pd.engine import map_images
    from pd.engine.stream.make import Crew

    listed = list_clips(clips)
    function = ClipFrames(listed.clips, settings(clips))
    mapper = map_images.Mapper(tmp_path, Crew(1, 0.0, None, "data.video"), None)
    here = [row for table in mapper.tables(function, "frames", 4) for row in table.to_pylist()]
    monkeypatch.setattr(map_images, "HERE_BYTES", 0)
    tables = list(mapper.tables(function, "frames", 4))
    assert [row for table in tables for row in table.to_pylist()] == here
    assert len(tables) == len(listed.clips) // 4
    assert len(pq.read_table(tmp_path / "frames")) == len(listed.clips)
