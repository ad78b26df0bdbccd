"""Video: a folder with clips for each identity, or a manifest with `path`, `start` and `end`; a frame is an image.

All frames of a clip go by one `clip_id`. They show one person, so a clip never lies on both sides of a split. Frames that
are nearly the same as another of their clip are left out and counted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from pd.config import DataSettings
from pd.dataset.clips import Clip, ClipFrames, Clips, list_clips, without_repeats
from pd.dataset.images import to_arrays
from pd.dataset.private import CLIP
from pd.dataset.readers.identity import IF_SAID
from pd.dataset.readers.source import BadRow, Row, Source
from pd.errors import UserError

CLIPS_A_SHARD = 8  # what a crash can cost a worker  # ours
Tables = Callable[[], Iterable[pa.Table]]
"""Rows as `pd.dataset.clips.ROW` has them, a clip each, in order."""


def video(settings: DataSettings) -> Source:
    """The frames of `data.path`, decoded in this process.

    Raises:
        UserError: no clip, seconds of two people, or no PyAV.
    """
    assert settings.path is not None
    alone = settings.identity_from == IF_SAID
    asked = settings.model_copy(update={"identity_from": None}) if alone else settings
    listed = list_clips(settings.path, asked, needs_identity=not alone, names_people=True)
    function = ClipFrames(listed.clips, settings)
    function.refuse_missing_packages()

    def here() -> Iterator[pa.Table]:
        make = function.open("cpu")
        return (make(range(row, row + 1)) for row in range(function.total))

    return source_of_clips(listed, settings, here)


def source_of_clips(listed: Clips, settings: DataSettings, tables: Tables, dropped: Iterable[str] = ()) -> Source:
    """The frames of clips as images.

    Args:
        listed: the clips.
        settings: `video` says what is too alike.
        tables: gives the clips' frames.
        dropped: ids of clips that are left out, and counted.
    """
    of_clips: Counter[str] = Counter()
    without = frozenset(dropped)
    if CLIP in listed.labels:
        raise UserError(f"pd's own column is called '{CLIP}'", code="bad-name", where=listed.where, fix="rename it")

    def rows() -> Iterator[Row | BadRow]:
        of_clips.clear()
        clips = iter(listed.clips)
        for table in tables():
            for found in table.to_pylist():
                clip = next(clips)
                if clip.id in without:
                    of_clips["clips that the screening flagged"] += 1
                else:
                    yield from _frames(clip, found, settings, of_clips)

    video = settings.video
    seconds = sum(min(video.seconds, (clip.end or video.seconds + clip.start) - clip.start) for clip in listed.clips)
    return Source(
        listed.where,
        int(seconds * video.rate),  # at most
        {**listed.labels, CLIP: pa.string()},
        rows,
        has_split=listed.has_split,
        embedded=True,
        files=listed.files,
        of_clips=of_clips,
        ignored=listed.ignored,
    )


def _frames(clip: Clip, found: dict[str, Any], settings: DataSettings, of_clips: Counter[str]) -> Iterator[Row | BadRow]:
    """The images of a clip."""
    if found["reason"] is not None:
        yield BadRow(clip.name, clip.number, found["reason"], found["detail"])
        return
    for note in found["notes"]:
        if note.startswith(("cut", "damaged")):
            of_clips[f"ends of clips ({note.split()[0]})"] += 1
    frames = found["frames"]
    kept = without_repeats(list(to_arrays(frames)), settings.video.thin) if settings.video.thin else range(len(frames))
    of_clips["frames nearly the same as another of their clip"] += len(frames) - len(kept)
    for place in kept:
        at = f"{found['times'][place]:.3f}"
        labels = {**clip.labels, CLIP: clip.id}
        key = f"{clip.name}#{clip.start:g}#{at}"
        who = clip.identity or clip.id  # the frames of a clip are of one person
        yield Row(f"{clip.name} at {at} s", clip.number, key, frames[place], who, clip.caption, clip.split, labels)
