"""Clips of video: which there are, and their faces as small pictures, clip by clip, here or by workers."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pd.config import ColumnSettings, DataSettings, digest_of
from pd.dataset.decode import BadImage, Reason, finish
from pd.dataset.decoding import MOST_ENLARGED
from pd.dataset.face_crop import crops, cut, require_detector
from pd.dataset.images import Pixels, encode_png
from pd.dataset.mapping import MakeRows
from pd.dataset.parquet_rows import holds_text
from pd.dataset.readers.columns import plain_type
from pd.dataset.readers.folder import refuse_nested
from pd.dataset.readers.identity import identity_of
from pd.dataset.readers.manifest import manifest
from pd.dataset.readers.source import BadRow, Row, plain, utf8
from pd.dataset.readers.table import open_table
from pd.dataset.video_file import SUFFIXES, Reading, frames_of, require_av
from pd.errors import UserError
from pd.store.paths import inside, walk

ROW = pa.schema(
    [
        ("clip", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("notes", pa.list_(pa.string())),
        ("seconds", pa.float64()),
        ("face", pa.bool_()),
        ("times", pa.list_(pa.float64())),
        ("frames", pa.list_(pa.binary())),
    ]
)
"""A clip as `ClipFrames` makes it. `reason` is why it cannot be used, else null; `frames` are PNG."""

A_BYTE = 100  # bytes of pixels that a byte of video is taken to decode to, before it is read  # ours


@dataclass(frozen=True)
class Clip:
    """A clip as its source lists it.

    Attributes:
        name: what people know it by.
        file: the video; None where the clip cannot be used.
        identity: who is in it; empty where nothing says.
        start, end: seconds of the file; None: its end.
        number: its row in a manifest.
        caption, split, labels: what a manifest says besides.
        reason: why it cannot be used; empty: it can.
        detail: what helps to mend that.
    """

    name: str
    file: Path | None
    identity: str = ""
    start: float = 0.0
    end: float | None = None
    number: int | None = None
    caption: str | None = None
    split: str | None = None
    labels: Mapping[str, object] = field(default_factory=dict, hash=False)
    reason: Reason | None = None
    detail: str = ""

    @property
    def id(self) -> str:
        """16 hex digits that name the clip: of the way to it, and its seconds."""
        return sha256(f"{self.name}\0{self.start}\0{self.end}".encode(errors="surrogatepass")).hexdigest()[:16]

    def meets(self, other: "Clip") -> bool:
        """Whether two clips of one file have seconds in common."""
        return self.start < (math.inf if other.end is None else other.end) and other.start < (
            math.inf if self.end is None else self.end
        )


@dataclass(frozen=True)
class Clips:
    """The clips of a source.

    Attributes:
        where: the folder or manifest, for messages.
        clips: in the source's order.
        labels: name and type of a manifest's further columns, but `start` and `end`.
        has_split: the source says who is a member.
        files: that decide what is read.
        ignored: files of a folder that are no clips by their name, counted by suffix.
    """

    where: str
    clips: tuple[Clip, ...]
    labels: Mapping[str, pa.DataType] = field(default_factory=dict)
    has_split: bool = False
    files: tuple[Path, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)


def list_clips(
    path: Path, settings: DataSettings | None = None, *, needs_identity: bool = True, names_people: bool | None = None
) -> Clips:
    """The clips of a folder, whose sub-folders name who is shown; of a manifest with `path`, `start`, `end`; or one.

    Args:
        path: the folder, manifest or video.
        settings: `columns` and `identity_from` count.
        needs_identity: False: nobody need say who is shown; each clip then stands for itself.
        names_people: whether folders, where there are some, are people; None: as `needs_identity`.

    Raises:
        UserError: nothing there, no video in it, a manifest that cannot be read, seconds that are of two people, or folders
            inside those of people, of which `identity_from` does not say which names one.
    """
    settings = settings or DataSettings(reader="video")
    if path.is_file():
        if path.name.lower().endswith(SUFFIXES):
            clip = Clip(path.name, None, reason="no identity") if needs_identity else Clip(path.name, path.absolute())
            return Clips(str(path), (clip,), files=(path,))
        found = _in_manifest(path, settings, needs_identity)
    elif path.is_dir():
        found = _in_folder(path, settings, needs_identity)
        if settings.identity_from is None and (needs_identity if names_people is None else names_people):
            refuse_nested((clip.name for clip in found.clips), path)
    else:
        raise UserError("no such folder", code="no-such-folder", where=str(path), fix="name a folder of clips, or a manifest")
    _refuse_two_people(found)
    return found


def _in_folder(path: Path, settings: DataSettings, needs_identity: bool) -> Clips:
    root, clips, ignored = path.resolve(), [], Counter[str]()
    for name, link in walk(path):
        if link or not name.lower().endswith(SUFFIXES):
            ignored["links to folders" if link else Path(name).suffix.lower() or "no suffix"] += 1
            continue
        who, slash, _ = name.partition("/")
        if settings.identity_from is not None:
            who, slash = identity_of(name, settings.identity_from), "/"
        who, file = who.strip() if slash else "", inside(root, name)
        if not utf8(name):
            clips.append(Clip(name, None, who, reason="unsupported"))
        elif file is None:
            clips.append(Clip(name, None, who, reason="outside the folder"))
        elif needs_identity and not who:
            clips.append(Clip(name, None, reason="no identity"))
        else:
            clips.append(Clip(name, file, who))
    if not clips:
        fix = f"put them at WHO/clip.mp4; read are {' '.join(SUFFIXES)}"
        raise UserError("no video in this folder", code="no-images", where=str(path), fix=fix)
    files = tuple(clip.file for clip in clips if clip.file is not None)
    return Clips(str(path), tuple(clips), files=files, ignored=ignored)


def _in_manifest(path: Path, settings: DataSettings, needs_identity: bool) -> Clips:
    how = settings.identity_from
    named = settings.columns.identity or "identity"
    table = open_table(path).schema
    alone = how is None and not needs_identity and named not in table.names
    source = manifest(path, _with_seconds(settings.columns, table, str(path)), ".*" if alone else how)
    rows = list(source.rows())
    _refuse_words_for_seconds(rows, source.where)
    clips = [_clip(row, alone) for row in rows]
    labels = {name: kind for name, kind in source.labels.items() if name not in _SECONDS}
    files = (path, *(clip.file for clip in clips if clip.file is not None))
    return Clips(source.where, tuple(clips), labels, source.has_split, files)


_SECONDS = ("start", "end")


def _with_seconds(columns: ColumnSettings, table: pa.Schema, where: str) -> ColumnSettings:
    """The columns with those of seconds among the labels, where the settings name labels.

    Raises:
        UserError: such a column holds neither numbers nor text.
    """
    there = [name for name in _SECONDS if name in table.names]
    for name in there:
        kind = plain_type(table.field(name).type)
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)
        if not (number or holds_text(kind)):
            raise _no_seconds(name, where)
    return columns if columns.labels is None else columns.model_copy(update={"labels": (*columns.labels, *there)})


def _refuse_words_for_seconds(rows: Iterable[Row | BadRow], where: str) -> None:
    """Raises UserError where a column of seconds says something, and nowhere a number."""
    said: dict[str, set[bool]] = defaultdict(set)
    for row in rows:
        if isinstance(row, BadRow):
            continue
        for name in _SECONDS:
            second = _second(row.labels.get(name))
            if not math.isnan(second):
                said[name].add(math.isinf(second))
    for name, none in said.items():
        if none == {True}:
            raise _no_seconds(name, where)


def _no_seconds(name: str, where: str) -> UserError:
    return UserError(
        f"column '{name}' is no number of seconds", code="bad-column", where=where, fix="write seconds: 65.5, not 00:01:05"
    )


def _clip(row: Row | BadRow, alone: bool) -> Clip:
    if isinstance(row, BadRow):
        return Clip(row.name, None, number=row.number, reason=row.reason, detail=row.detail)
    labels = {name: value for name, value in row.labels.items() if name not in _SECONDS}
    start, end = (_second(row.labels.get(name)) for name in _SECONDS)
    good = isinstance(row.data, Path) and not math.isinf(start) and not math.isinf(end)
    start = 0.0 if math.isnan(start) else start
    good = good and (math.isnan(end) or end > start)
    return Clip(
        row.name,
        row.data if good and isinstance(row.data, Path) else None,
        "" if alone else row.identity,
        start,
        None if math.isnan(end) else end,
        row.number,
        row.caption,
        row.split,
        labels,
        None if good else "unsupported",
        "" if good else "no path to a file, or an end that is not after its start",
    )


def _second(value: object) -> float:
    """A second; NaN where nothing is said, infinity where it is none."""
    if value is None or value == "":
        return math.nan
    try:
        second = float(str(value))
    except ValueError:
        return math.inf
    return second if 0 <= second < 1e9 or math.isnan(second) else math.inf


def _refuse_two_people(found: Clips) -> None:
    """Raises UserError where the same seconds of a file are of two people: they could lie on both sides of a split."""
    seen: dict[Path, list[Clip]] = defaultdict(list)
    for clip in found.clips:
        if clip.file is None or not clip.identity:
            continue
        for other in seen[clip.file]:
            if other.identity != clip.identity and clip.meets(other):
                what = f"'{plain(clip.name)}' is of two people in the same seconds"
                raise UserError(what, code="shared-people", where=found.where, fix="give each their own start and end")
        seen[clip.file].append(clip)


@dataclass(frozen=True)
class ClipFrames:
    """Clips to rows as ROW has them: a `RowFunction`, one clip at a time. A clip that cannot be read is a row that says why.

    Attributes:
        clips: which.
        settings: `video` says how they become pictures, `size`, `mode` and `max_pixels` which.
    """

    clips: tuple[Clip, ...]
    settings: DataSettings

    def refuse_missing_packages(self) -> None:
        """Raises UserError where what reads clips is not installed; asked before the work."""
        require_av()
        if self.settings.video.face == "crop":
            require_detector()

    @property
    def key(self) -> str:
        parts: list[object] = []
        for clip in self.clips:
            info = clip.file.stat() if clip.file is not None and clip.file.exists() else None
            parts.append([clip.id, str(clip.file), [info.st_size, info.st_mtime_ns] if info else None])
        how = self.settings
        return digest_of([parts, how.video.model_dump(mode="json"), how.size, how.mode, how.resize, how.max_pixels])

    @property
    def total(self) -> int:
        return len(self.clips)

    @property
    def batch(self) -> int:
        return 1

    @property
    def pixel_bytes(self) -> int:
        return A_BYTE * sum(clip.file.stat().st_size for clip in self.clips if clip.file is not None and clip.file.exists())

    def open(self, device: str) -> MakeRows:
        return lambda rows: pa.Table.from_pylist([read_clip(self.clips[row], self.settings) for row in rows], ROW)


def read_clip(clip: Clip, settings: DataSettings) -> dict[str, Any]:
    """One row of ROW. Of a file that is damaged on its way, what comes before counts, and a note says so."""
    video, told = settings.video, Reading()
    row: dict[str, Any] = {"clip": clip.id, "reason": None, "detail": "", "notes": [], "times": [], "frames": []}
    faces = 0
    try:
        if clip.file is None:
            raise BadImage(clip.reason or "missing", clip.detail)
        frames = frames_of(
            clip.file,
            rate=video.rate,
            seconds=video.seconds,
            max_pixels=settings.max_pixels,
            start=clip.start,
            end=clip.end,
            reading=told,
        )
        held = turned = 0
        whole = settings.model_copy(update={"resize": "stretch"}) if video.face == "crop" else settings
        for frame, box in crops(frames, video):
            seen = cut(frame.pixels, box) if video.face == "crop" else frame.pixels
            if min(seen.shape[:2]) * MOST_ENLARGED < settings.size:
                raise BadImage("too small", f"{seen.shape[1]}x{seen.shape[0]} pixels, data.size is {settings.size}")
            row["frames"].append(encode_png(_small(seen, whole)))
            row["times"].append(frame.second)
            faces, held, turned = faces + (box is not None), held + frame.held, turned or frame.rotated
        row["notes"] = [
            *([f"cut after {video.seconds:g} s of {told.seconds:.0f} s"] if told.cut else []),
            *(["damaged after what was read"] if told.broken else []),
            *([f"turned by {turned} degrees"] if turned else []),
            *([f"{held} of {len(row['frames'])} frames shown longer than one step"] if held else []),
            *(["no face found, its centre is taken"] if video.face == "crop" and not faces else []),
        ]
    except BadImage as bad:
        row |= {"reason": bad.reason, "detail": bad.detail, "times": [], "frames": []}
    return {**row, "seconds": told.seconds, "face": faces > 0}


def _small(pixels: Pixels, settings: DataSettings) -> Pixels:
    return finish(Image.fromarray(pixels), settings).pixels


def without_repeats(frames: list[Pixels], least: float) -> list[int]:
    """Places of the frames that differ from all kept before them by `least` grey levels on average; the first is kept."""
    kept: list[int] = []
    seen: list[Any] = []
    for place, frame in enumerate(frames):
        grey = np.asarray(frame, np.float32).mean(axis=2)
        if all(float(np.abs(grey - other).mean()) >= least for other in seen):
            kept.append(place)
            seen.append(grey)
    return kept
