"""Clips of video as the screening reads them: decoded by the shared mapper, kept in Parquet, opened row by row."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pd.classify.inputs import Inputs
from pd.config import DataSettings, VideoSettings
from pd.config.screen import ScreenSettings
from pd.dataset.cache import Cached
from pd.dataset.clips import Clip, ClipFrames, Clips
from pd.dataset.images import Pixels
from pd.dataset.parquet_images import ParquetImages, held_bytes
from pd.dataset.readers.video import CLIPS_A_SHARD
from pd.dataset.schema import IMAGE, image_schema
from pd.engine.map_images import Mapper
from pd.forgery.windows import Footage
from pd.progress import Progress
from pd.store.atomic import write_folder, write_json
from pd.store.files import digest_folder

ENTRIES = "clips.json"
HOLD_BYTES = 512 << 20  # of frames that are held decoded; more are decoded as they are asked for  # ours


@dataclass(frozen=True)
class Entry:
    """What became of a clip.

    Attributes:
        clip: as it is listed.
        row: its number in the footage; None: it cannot be used.
        why: why it cannot be used, or what is to be known of it; empty where there is nothing.
    """

    clip: Clip
    row: int | None
    why: str


class HeldLater:
    """Rows of images that are held in memory once they are asked for; to workers only the files' names travel."""

    def __init__(self, images: ParquetImages) -> None:
        self._images = images
        self._held: Pixels | None = None

    def __len__(self) -> int:
        return len(self._images)

    def take(self, rows: npt.NDArray[np.int64]) -> Pixels:
        """(n, H, W, C) uint8."""
        if self._held is None:
            self._held = self._images[:]
        return self._held[rows]

    def __getstate__(self) -> ParquetImages:
        return self._images

    def __setstate__(self, images: ParquetImages) -> None:
        self._images, self._held = images, None


def clip_settings(settings: ScreenSettings, given: DataSettings) -> DataSettings:
    """How clips are read for the screening, which looks at more frames a second than a run learns from."""
    video = VideoSettings(
        rate=settings.rate,
        seconds=settings.seconds,
        face=given.video.face,
        margin=given.video.margin,
        workers=settings.workers,
    )
    return given.model_copy(
        update={"reader": "video", "preset": None, "size": settings.size, "mode": "rgb", "resize": "crop", "video": video}
    )


def read_footage(
    listed: Clips, settings: DataSettings, mapper: Mapper, folder: Path, progress: Progress
) -> tuple[Footage, list[Entry]]:
    """Decode clips into `folder`, unless they are there, and open them.

    Args:
        listed: the clips.
        settings: as `clip_settings` gives them.
        mapper: decodes.
        folder: becomes the cache; private.
        progress: called after each clip.

    Returns:
        The clips that can be used, and what became of each one.

    Raises:
        UserError: a package is missing, or workers do not fit.
    """
    function = ClipFrames(listed.clips, settings)
    function.refuse_missing_packages()
    if not _there(folder, function.key):
        with write_folder(folder) as aside:
            _write(function, mapper, aside, folder.name, progress)
        mapper.done()
    found = json.loads((folder / ENTRIES).read_text(encoding="utf-8"))["clips"]
    files = sorted(folder.glob("*.parquet"))
    images = ParquetImages.open(files)
    frames: Inputs = HeldLater(images) if held_bytes(images) <= HOLD_BYTES else Cached(images)
    lengths = np.array([one["frames"] for one in found], np.int64)
    usable = np.flatnonzero(lengths > 0)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64) if len(lengths) else np.zeros(0, np.int64)
    people = tuple(listed.clips[row].identity or listed.clips[row].id for row in usable)
    footage = Footage(frames, starts[usable], lengths[usable], people, digest_folder(folder))
    number = {int(row): place for place, row in enumerate(usable)}
    return footage, [Entry(clip, number.get(row), found[row]["why"]) for row, clip in enumerate(listed.clips)]


def _there(folder: Path, key: str) -> bool:
    file = folder / ENTRIES
    return file.exists() and json.loads(file.read_text(encoding="utf-8"))["key"] == key


def _write(function: ClipFrames, mapper: Mapper, folder: Path, name: str, progress: Progress) -> None:
    """A row group a clip, so that to read a clip is to read one."""
    schema = image_schema([("clip", pa.string()), ("image", IMAGE)])
    entries: list[dict[str, object]] = []
    with pq.ParquetWriter(folder / "part-00000.parquet", schema) as writer:
        for table in mapper.tables(function, name, CLIPS_A_SHARD, progress):
            for row in table.to_pylist():
                rows = [{"clip": row["clip"], "image": {"bytes": png, "path": None}} for png in row["frames"]]
                if rows:
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                said = [row["reason"] + (f" ({row['detail']})" if row["detail"] else "")] if row["reason"] else row["notes"]
                entries.append({"frames": len(rows), "why": "; ".join(said)})
    write_json(folder / ENTRIES, {"key": function.key, "clips": entries})
