"""Frames of a video file that nobody has checked: bounded in bytes, pixels, frames and seconds, upright, at a stated rate.

FFmpeg, by PyAV, reads the container. Which one it is, the file's first bytes decide, from a short list: formats that open
other files or addresses (playlists, concatenations) are never tried.
"""

import importlib.util
import math
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pd.dataset.decode import BadImage
from pd.dataset.images import Pixels
from pd.errors import UserError

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".3gp")
MOST_BYTES = 64 << 30  # of a file; it is read as it is needed  # ours
MOST_FRAMES_A_SECOND = 240  # decoded of a second; cameras for slow motion reach it  # ours
_SPARE_FRAMES = 3000  # decoded before `start`, back to the frame that the file can be entered at  # ours
_PACKETS_A_FRAME = 50  # that give no frame, before a file is given up  # ours
_BACK_S = 4.0  # seconds that a file is entered before `start`, where it cannot be there; then twice as many  # ours
_ROUNDING = 1e-6  # seconds
_UNKNOWN_RATE = 25.0  # frames a second where a file states no times

_CONTAINERS = (
    (re.compile(rb"....(?:ftyp|moov|mdat|wide|free|skip)", re.DOTALL), "mov"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "matroska"),
    (re.compile(rb"RIFF....AVI ", re.DOTALL), "avi"),
    (re.compile(rb"\x00\x00\x01\xba"), "mpeg"),
    (re.compile(rb"\x00\x00\x01\xb3"), "mpegvideo"),
    (re.compile(rb"\x47.{187}\x47", re.DOTALL), "mpegts"),
)


@dataclass(frozen=True)
class Frame:
    """A frame as people see it.

    Attributes:
        second: of the file at which it is taken.
        pixels: (H, W, 3) uint8, upright.
        held: it was taken before: the file shows no newer one yet.
        rotated: degrees by which the file says that it is to be turned.
    """

    second: float
    pixels: Pixels
    held: bool
    rotated: int


@dataclass
class Reading:
    """What is learned of a file while it is read.

    Attributes:
        seconds: its length as it says, 0 where it does not.
        cut: it goes on after the last second that is read.
        broken: it is damaged after what was read.
    """

    seconds: float = 0.0
    cut: bool = False
    broken: bool = False


def require_av() -> None:
    """Raises UserError without PyAV."""
    if importlib.util.find_spec("av") is None:
        fix = 'pip install "privacy-distillation[video]"'
        raise UserError(
            "reading video needs PyAV, which is not installed", code="missing-package", where="data.reader", fix=fix
        )


def frames_of(
    path: Path,
    *,
    rate: float,
    seconds: float,
    max_pixels: int,
    start: float = 0.0,
    end: float | None = None,
    reading: Reading | None = None,
) -> Iterator[Frame]:
    """The frames shown at start, start + 1 / rate, and so on, whatever rate the file has, or none.

    Args:
        path: the file.
        rate: frames a second that are taken.
        seconds: most that is read, from `start` on.
        max_pixels: of a frame.
        start: first second.
        end: last one; None: that of the file.
        reading: is told what is learned.

    Raises:
        BadImage: nothing of it can be read. Damage after the first frame ends the frames, and is told in `reading`.
    """
    told = reading if reading is not None else Reading()
    stop = start + seconds if end is None else min(end, start + seconds)
    step, taken = 1.0 / rate, 0
    shown: tuple[float, Any] | None = None
    pixels: Pixels | None = None
    rotated = 0
    gap = step
    with _opened(path, max_pixels, told) as (container, stream):
        told.cut = min(told.seconds, end if end is not None else math.inf) > stop + step
        ends = _decoded(container, stream, start, stop, max_pixels, told)
        while True:
            second, frame = next(ends, (math.inf, None))
            if frame is None:  # the last one is shown for as long as the one before it
                second = min(shown[0] + gap - _ROUNDING, stop) if shown is not None else start
            while shown is not None and (at := start + taken * step) < min(second, stop) - _ROUNDING:
                held = pixels is not None
                if pixels is None:
                    pixels, rotated = _pixels(shown[1])
                yield Frame(at, pixels, held, rotated)
                taken += 1
            if frame is None or second >= stop:
                break
            gap = second - shown[0] if shown is not None else step
            shown, pixels = (second, frame), None
    if not taken and start > 0 and told.seconds and start >= told.seconds and not told.broken:
        raise BadImage("too short", f"{told.seconds:.1f} s, and its part begins at {start:g} s")
    if not taken:
        raise BadImage("truncated" if told.broken else "no picture", "not one frame can be decoded")


@contextmanager
def _opened(path: Path, max_pixels: int, told: Reading) -> Iterator[tuple[Any, Any]]:
    """A container and its first stream of pictures."""
    import av

    av.logging.set_level(None)
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise BadImage("missing", "not a file")
        if not info.st_size:
            raise BadImage("empty")
        if info.st_size > MOST_BYTES:
            raise BadImage("too large", f"{info.st_size} bytes")
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise BadImage("missing", getattr(error, "strerror", None) or "no such name") from None
    with file:
        head = file.read(400)
        kind = next((name for magic, name in _CONTAINERS if magic.match(head)), None)
        if kind is None:
            raise BadImage("not a video")
        file.seek(0)
        options = {"max_pixels": str(max_pixels)}
        try:
            container = av.open(file, format=kind, options={"protocol_whitelist": ""})
        except Exception as error:  # FFmpeg's errors are of many classes
            raise BadImage("truncated" if isinstance(error, EOFError) else "corrupt", type(error).__name__) from None
        with container:
            if not container.streams.video:
                raise BadImage("no picture", "sound alone" if container.streams.audio else "no stream of pictures")
            stream = container.streams.video[0]
            _check(stream.width, stream.height, max_pixels)
            stream.codec_context.options = options
            stream.codec_context.thread_count = 1  # workers share the cores by files
            told.seconds = _seconds(container, stream)
            yield container, stream


def _check(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise BadImage("too large", f"{width}x{height} pixels, data.max_pixels is {max_pixels}")


def _seconds(container: Any, stream: Any) -> float:
    length = container.duration / 1e6 if container.duration else 0.0
    if not length and stream.duration and stream.time_base:
        length = float(stream.duration * stream.time_base)
    return float(length) if math.isfinite(length) and 0 < length < 1e9 else 0.0


def _decoded(
    container: Any, stream: Any, start: float, stop: float, max_pixels: int, told: Reading
) -> Iterator[tuple[float, Any]]:
    """Frames in the order of their times, from the last before `start` on; damage ends them."""
    import av

    most = int((stop - start) * MOST_FRAMES_A_SECOND) + _SPARE_FRAMES
    first: float | None = None
    size: tuple[int, int] | None = None
    last, before, count, packets = -1.0, None, 0, 0
    origin = float((stream.start_time or 0) * stream.time_base) if stream.time_base else 0.0
    if start > 0:
        try:
            _enter(container, stream, start, origin)
            first = 0.0
        except (av.FFmpegError, OverflowError, ValueError):
            raise BadImage("too short", f"no second {start:g}") from None
    try:
        for packet in container.demux(stream):
            packets += 1
            if count > most or packets > _PACKETS_A_FRAME * most:
                told.cut = True
                return
            if packet.is_corrupt:
                told.broken = True
            for frame in packet.decode():
                count += 1
                _check(frame.width, frame.height, max_pixels)
                size = size or (frame.width, frame.height)
                if (frame.width, frame.height) != size:  # another clip is stuck to this one, or damage
                    told.broken = True
                    return
                stated = frame.time
                second = (stated - origin) if stated is not None else count / float(stream.average_rate or _UNKNOWN_RATE)
                if first is None:
                    first = second
                second -= first
                if not math.isfinite(second) or second <= last:
                    continue  # a time that cannot be: the frame is not shown
                last = second
                if second < start:
                    before = (second, frame)
                    continue
                if before is not None and second > start:
                    yield start, before[1]
                before = None
                yield second, frame
                if second >= stop:
                    return
    except BadImage:
        raise
    except Exception:  # whatever FFmpeg says of damage: what was before it counts
        told.broken = True
    if before is not None and not told.cut and told.seconds and start < told.seconds:
        yield start, before[1]


def _enter(container: Any, stream: Any, start: float, origin: float) -> None:
    """Go to where the file can be entered before `start`; a stream that lists no such places is searched, ever further back.

    Raises:
        av.FFmpegError, OverflowError, ValueError: the file cannot be entered there.
    """
    back = 0.0
    while back < start:
        at = int((start - back + origin) * 1e6)
        container.seek(at)
        if _first_second(container, stream) - origin <= start + _ROUNDING:
            container.seek(at)
            return
        back = max(2 * back, _BACK_S)
    container.seek(0)  # before the first frame: packets may be stored earlier than they are shown


def _first_second(container: Any, stream: Any) -> float:
    """Of the first frame that can be decoded from here; infinity where none can, the least number where it states none."""
    try:
        for number, packet in enumerate(container.demux(stream)):
            for frame in packet.decode():
                second: float = frame.time if frame.time is not None else -math.inf
                return second
            if number >= _SPARE_FRAMES:
                break
    except Exception:  # whatever FFmpeg says of damage: further back there may be less
        return math.inf
    return math.inf


def _pixels(frame: Any) -> tuple[Pixels, int]:
    """(H, W, 3) uint8 upright, and the degrees that it was turned."""
    try:
        turned = round(frame.rotation / 90) % 4
        picture: Pixels = frame.to_ndarray(format="rgb24")
    except Exception as error:  # pixel formats that cannot be converted, matrices that turn by no angle
        raise BadImage("unsupported", type(error).__name__) from None
    return np.ascontiguousarray(np.rot90(picture, turned)), turned * 90
