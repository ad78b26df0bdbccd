"""Video that nobody has checked: what is read of it, when, which way up, and why not."""

import os

import av
import numpy as np
import pytest
from small_clips import encode, moving, turn

from pd.config import DataSettings, VideoSettings
from pd.dataset.clips import Clip, read_clip
from pd.dataset.decode import BadImage
from pd.dataset.images import to_arrays
from pd.dataset.video_file import Reading, frames_of

HOW = {"rate": 10.0, "seconds": 60.0, "max_pixels": 1_000_000}


def numbered(count, height=32, width=48):
    """Frames whose grey level tells their number: 4 levels apart."""
    return np.stack([np.full((height, width, 3), 20 + 4 * n, np.uint8) for n in range(count)])


def number(frame):
    return round((float(frame.pixels.mean()) - 20) / 4)


def test_frames_are_those_shown_at_each_time(tmp_path):
    path = encode(tmp_path / "a.mp4", numbered(50))
    found = list(frames_of(path, **HOW))
    np.testing.assert_allclose([frame.second for frame in found], np.arange(20) / 10)
    assert [number(frame) for frame in found] == [int(n * 2.5 + 1e-6) for n in range(20)]
    assert not any(frame.held for frame in found)


def test_a_variable_rate_is_sampled_by_time_and_a_pause_is_held(tmp_path):
    times = [0.0, 0.1, 0.2, 0.3, 1.0, 1.1, 1.2, 1.3]
    path = encode(tmp_path / "a.mkv", numbered(8), times=times)
    found = list(frames_of(path, **HOW))
    assert [number(frame) for frame in found][:11] == [0, 1, 2, 3, 3, 3, 3, 3, 3, 3, 4]
    assert sum(frame.held for frame in found) == 6


def test_a_part_is_read_from_its_start_to_its_end(tmp_path):
    path = encode(tmp_path / "a.mp4", numbered(50))
    found = list(frames_of(path, **HOW, start=1.0, end=1.5))
    np.testing.assert_allclose([frame.second for frame in found], [1.0, 1.1, 1.2, 1.3, 1.4])
    assert [number(frame) for frame in found] == [25, 27, 30, 32, 35]


@pytest.mark.parametrize(("codec", "gop"), [("libx264", 250), ("libx264", 25), ("mpeg2video", 250)])
@pytest.mark.parametrize("start", [0.6, 1.8, 8.0])
def test_a_part_of_a_transport_stream_without_a_list_of_entries(tmp_path, codec, gop, start):
    if codec not in av.codecs_available:
        pytest.skip(f"no {codec}")
    whole = np.concatenate([numbered(50)] * 6)  # 12 seconds
    path = encode(tmp_path / "a.ts", whole, codec=codec, gop=gop)
    found = list(frames_of(path, **HOW, start=start, end=start + 0.3))
    np.testing.assert_allclose([frame.second for frame in found], start + np.arange(3) / 10)
    np.testing.assert_allclose([number(frame) for frame in found], [(start * 25 + n * 2.5) % 50 for n in range(3)], atol=1.01)


def test_a_part_that_is_longer_than_what_is_read_says_that_it_is_cut(tmp_path):
    path = encode(tmp_path / "a.mp4", numbered(50))

    def cut(seconds, end):
        told = Reading()
        list(frames_of(path, rate=10.0, seconds=seconds, max_pixels=10**6, start=0.5, end=end, reading=told))
        return told.cut

    assert cut(0.5, 1.5)
    assert not cut(1.0, 1.5)
    assert not cut(0.5, 1.05)  # not by a whole step
    assert not cut(1.5, 100.0)  # the file ends before


def test_a_phone_held_upright_is_turned(tmp_path):
    frames = moving(seconds=0.5)
    frames[:, :40] = 255  # what is above before is to the right after a quarter clockwise
    path = encode(tmp_path / "a.mp4", frames)
    turn(path)
    frame = next(frames_of(path, **HOW))
    assert frame.pixels.shape == (160, 120, 3)
    assert frame.rotated == 270
    assert frame.pixels[:, 90:].mean() > 240 > frame.pixels[:, :70].mean()


def test_a_clip_of_hours_is_read_to_its_limit_alone(tmp_path):
    path = encode(tmp_path / "a.mkv", numbered(10), times=[n * 3600.0 for n in range(10)])
    told = Reading()
    found = list(frames_of(path, rate=2.0, seconds=5.0, max_pixels=10**6, reading=told))
    assert len(found) == 10
    assert told.cut
    assert told.seconds > 30_000
    row = read_clip(Clip("a", path), DataSettings(size=16, video=VideoSettings(rate=2, seconds=5, face="centre")))
    assert row["reason"] is None
    assert row["notes"][0] == "cut after 5 s of 32400 s"


@pytest.mark.parametrize("suffix", ["mpg", "avi", "mkv", "mov"])
def test_containers(tmp_path, suffix):
    path = encode(tmp_path / f"a.{suffix}", numbered(25), codec="mpeg1video" if suffix == "mpg" else "mpeg4")
    assert len(list(frames_of(path, **HOW))) in (9, 10)


def test_what_cannot_be_read_says_why(tmp_path):
    good = encode(tmp_path / "good.mp4", numbered(50))
    data = good.read_bytes()

    def reason(content=None, path=tmp_path / "x.mp4", **how):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BadImage) as bad:
            list(frames_of(path, **{**HOW, **how}))
        return bad.value.reason

    assert reason(b"") == "empty"
    assert reason(b"no video at all" * 100) == "not a video"
    assert reason(b"#EXTM3U\nfile:///etc/passwd\n") == "not a video"
    assert reason(b"ffconcat version 1.0\nfile 'good.mp4'\n") == "not a video"
    assert reason(data[: len(data) // 2]) in ("corrupt", "truncated")  # the index of an MP4 lies at its end
    assert reason(path=tmp_path / "none.mp4") == "missing"
    assert reason(path=tmp_path) == "missing"
    assert reason(path=good, max_pixels=500) == "too large"
    assert reason(path=good, start=90.0) in ("too short", "no picture")
    assert reason(path=encode(tmp_path / "sound.mp4", None, sound=True)) == "no picture"
    fifo = tmp_path / "pipe.mp4"
    os.mkfifo(fifo)
    assert reason(path=fifo) == "missing"


def test_of_a_file_cut_short_the_beginning_counts(tmp_path):
    path = encode(tmp_path / "a.avi", moving(seconds=2))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    row = read_clip(Clip("a", path), DataSettings(size=32, video=VideoSettings(rate=10, face="centre")))
    assert row["reason"] is None
    assert 5 < len(row["frames"]) < 20


def test_a_picture_that_changes_its_size_ends_the_clip(tmp_path):
    one = encode(tmp_path / "one.mpg", numbered(25), codec="mpeg1video").read_bytes()
    two = encode(tmp_path / "two.mpg", numbered(25, 64, 96), codec="mpeg1video").read_bytes()
    (tmp_path / "both.mpg").write_bytes(one + two)
    row = read_clip(Clip("a", tmp_path / "both.mpg"), DataSettings(size=16, video=VideoSettings(rate=10)))
    assert row["reason"] is None
    assert 5 < len(row["frames"]) < 15
    assert "damaged after what was read" in row["notes"]


@pytest.mark.parametrize(("height", "width"), [(2, 2), (16, 4000), (4000, 16)])
def test_sides_of_any_length(tmp_path, height, width):
    row = read_clip(Clip("a", encode(tmp_path / "a.mkv", numbered(5, height, width))), DataSettings(size=16))
    assert (row["reason"] == "too small") == (height == 2)


@pytest.mark.parametrize("seed", range(12))
def test_damage_never_becomes_another_error(tmp_path, seed):
    chance = np.random.default_rng(seed)
    path = encode(tmp_path / f"a.{('mp4', 'mkv', 'avi')[seed % 3]}", moving(seconds=1))
    data = bytearray(path.read_bytes())
    for at in chance.integers(16, len(data), 40):
        data[at] = chance.integers(256)
    path.write_bytes(data)
    row = read_clip(Clip("a", path), DataSettings(size=32, video=VideoSettings(rate=10, seconds=5)))
    assert (row["reason"] is None) == bool(row["frames"])
    assert len(row["frames"]) <= 50


def test_a_face_is_cut_out_by_one_steady_square(tmp_path):
    path = encode(tmp_path / "a.mp4", moving(seconds=2, width=240, height=180, side=96))
    how = DataSettings(size=64, video=VideoSettings(rate=10))
    face = read_clip(Clip("a", path), how)
    centre = read_clip(Clip("a", path), how.model_copy(update={"video": VideoSettings(rate=10, face="centre")}))
    assert face["face"]
    assert not centre["face"]
    assert len(face["frames"]) == len(centre["frames"]) == 20
    assert not np.array_equal(to_arrays(face["frames"]), to_arrays(centre["frames"]))


def test_without_a_face_the_centre_is_taken_and_it_is_told(tmp_path):
    row = read_clip(Clip("a", encode(tmp_path / "a.mp4", numbered(50))), DataSettings(size=16, video=VideoSettings(rate=10)))
    assert len(row["frames"]) == 20
    assert row["notes"] == ["no face found, its centre is taken"]
