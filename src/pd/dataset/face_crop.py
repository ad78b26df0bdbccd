"""Where the face of a clip is: one steady square, for a crop that trembles is movement that nobody made.

The detector is OpenCV's Haar cascade `haarcascade_frontalface_default.xml` (Viola and Jones 2001), which its package
brings along; it sees faces from the front. Of several the largest counts.
"""

import importlib.util
import math
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pd.config import VideoSettings
from pd.dataset.images import Pixels
from pd.dataset.video_file import Frame
from pd.errors import UserError

Box = tuple[int, int, int, int]
"""left, top, right, bottom, in pixels; within the frame."""

CASCADE = "haarcascade_frontalface_default.xml"
_SIDE = 320  # longest side of what the detector looks at  # ours
_LEAST = 24  # pixels a side of the cascade's smallest face
_SMALLEST = 0.12  # of that side, a face  # ours
_TRIES = 10  # frames that are waited for a face at least, before the centre is taken  # ours
_PATIENCE_S = 5.0  # seconds that are waited at least  # ours
_WAITING_BYTES = 512 << 20  # of frames that wait, at most  # ours
_LOOK_S = 0.08  # seconds between two looks for the first face  # ours
_ROUNDING = 1e-6  # seconds
_AGAIN_S = 1.0  # seconds between two looks where the face may have gone  # ours
_MOVED = 0.3  # of the square's side; the square follows a face that has moved further  # ours


def require_detector() -> None:
    """Raises UserError without OpenCV's cascades."""
    if importlib.util.find_spec("cv2") is None or not (_cascade_file()).is_file():
        raise UserError(
            "faces are found by OpenCV 4, which is not installed",
            code="missing-package",
            where="data.video.face",
            fix='pip install "privacy-distillation[video]", or set data.video.face: centre',
        )


def find_face(pixels: Pixels) -> Box | None:
    """The largest face of a picture, (H, W, 3) uint8; None where there is none."""
    import cv2

    height, width = pixels.shape[:2]
    scale = max(1.0, max(height, width) / _SIDE)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (max(1, round(width / scale)), max(1, round(height / scale))), interpolation=cv2.INTER_AREA)
    if min(small.shape) < _LEAST:
        return None
    least = max(_LEAST, int(_SMALLEST * max(small.shape)))
    found = _detector().detectMultiScale(small, scaleFactor=1.1, minNeighbors=5, minSize=(least, least))
    if not len(found):
        return None
    x, y, w, h = max(found.tolist(), key=lambda box: (box[2] * box[3], box))
    return round(x * scale), round(y * scale), round((x + w) * scale), round((y + h) * scale)


def crops(frames: Iterable[Frame], settings: VideoSettings) -> Iterator[tuple[Frame, Box | None]]:
    """Each frame with the square of its face; None: the clip shows none, and the centre counts.

    Frames wait until a face is found, ten of them or five seconds, or as many as 512 MiB hold.
    """
    if settings.face == "centre":
        yield from ((frame, None) for frame in frames)
        return
    waiting: list[Frame] = []
    patience = max(_TRIES, round(_PATIENCE_S * settings.rate))
    square: Box | None = None
    looked, given_up = -math.inf, False
    for frame in frames:
        if given_up:
            yield frame, None
            continue
        if square is None:
            waiting.append(frame)
            if not frame.held and frame.second - looked > _LOOK_S - _ROUNDING:
                looked = frame.second
                if face := find_face(frame.pixels):
                    square = _square(face, frame.pixels, settings.margin)
            full = len(waiting) >= patience or len(waiting) * frame.pixels.nbytes >= _WAITING_BYTES
            given_up = square is None and full
            if square is not None or given_up:
                yield from ((held, square) for held in waiting)
                waiting.clear()
            continue
        if frame.second - looked >= _AGAIN_S:
            looked = frame.second
            if face := find_face(frame.pixels):
                square = _followed(square, _square(face, frame.pixels, settings.margin))
        yield frame, square
    yield from ((held, None) for held in waiting)


def cut(pixels: Pixels, box: Box | None) -> Pixels:
    """The pixels of a square, of the largest one in the centre where there is no box."""
    height, width = pixels.shape[:2]
    if box is None:
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2
        box = (left, top, left + side, top + side)
    left, top, right, bottom = box
    return np.ascontiguousarray(pixels[top:bottom, left:right])


def _square(face: Box, pixels: Pixels, margin: float) -> Box:
    """A square around a face, moved into the frame, and smaller where the frame is."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = face
    side = min(round(max(right - left, bottom - top) * (1 + 2 * margin)), height, width)
    x = min(max((left + right - side) // 2, 0), width - side)
    y = min(max((top + bottom - side) // 2, 0), height - side)
    return x, y, x + side, y + side


def _followed(old: Box, new: Box) -> Box:
    side = old[2] - old[0]
    away = max(abs((old[i] + old[i + 2]) - (new[i] + new[i + 2])) / 2 for i in (0, 1))
    return new if away > _MOVED * side else old


def _cascade_file() -> Path:
    import cv2

    data = getattr(cv2, "data", None)  # OpenCV 5 brings no cascades
    return Path(data.haarcascades, CASCADE) if data is not None else Path("none")


@cache
def _detector() -> Any:
    import cv2

    cv2.setNumThreads(1)  # workers share the cores by files
    return cv2.CascadeClassifier(str(_cascade_file()))
