"""How long a clip is searched for its first face, and what waits meanwhile."""

import numpy as np
import pytest

from pd.config import DataSettings, VideoSettings
from pd.config.screen import ScreenSettings
from pd.dataset import face_crop
from pd.dataset.face_crop import crops
from pd.dataset.video_file import Frame
from pd.stages.footage import clip_settings

FACE = (10, 10, 20, 20)


def frames(rate, seconds):
    """Frames whose grey level is the second at which each is shown."""
    for number in range(round(rate * seconds)):
        yield Frame(number / rate, np.full((40, 40, 3), int(number / rate), np.uint8), False, 0)


def searched(monkeypatch, rate, appears, seconds=12):
    """The squares of all frames where a face appears at a second, and the seconds of which a frame was looked at."""
    looks = []

    def find(pixels):
        looks.append(int(pixels[0, 0, 0]))
        return FACE if pixels[0, 0, 0] >= appears else None

    monkeypatch.setattr(face_crop, "find_face", find)
    return [box for _, box in crops(frames(rate, seconds), VideoSettings(rate=rate))], looks


@pytest.mark.parametrize("rate", [2.0, 12.5, 60.0])
def test_a_face_of_the_fifth_second_is_that_of_the_whole_clip(monkeypatch, rate):
    found, looks = searched(monkeypatch, rate, 4)
    assert len(found) == round(rate * 12)
    assert found[0] is not None
    assert set(found) == {found[0]}
    assert sum(second < 4 for second in looks) <= 4 * 12.5 + 1


@pytest.mark.parametrize(("rate", "waits"), [(1.0, 10), (2.0, 10), (12.5, 62), (60.0, 300)])
def test_without_a_face_the_centre_is_taken_after_a_while(monkeypatch, rate, waits):
    found, looks = searched(monkeypatch, rate, 99)
    assert set(found) == {None}
    assert max(looks) <= (waits - 1) / rate


def test_frames_that_wait_are_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(face_crop, "_WAITING_BYTES", 20 * 40 * 40 * 3)
    found, looks = searched(monkeypatch, 12.5, 2)
    assert set(found) == {None}
    assert len(looks) == 20


def test_the_screening_keeps_the_margin():
    given = DataSettings(reader="video", path="clips", video=VideoSettings(margin=0.8, face="centre"))
    video = clip_settings(ScreenSettings(), given).video
    assert (video.margin, video.face) == (0.8, "centre")
