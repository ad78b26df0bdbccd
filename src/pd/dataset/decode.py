"""Decoding images that nobody has checked: what cannot be used becomes a BadImage with a reason, never a surprise."""

import hashlib
import io
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps, UnidentifiedImageError

from pd.config import DataSettings
from pd.dataset.images import Pixels

Reason = Literal[
    "missing",
    "empty",
    "outside the folder",
    "not an image",
    "truncated",
    "corrupt",
    "too large",
    "too small",
    "unsupported",
    "duplicate",
    "no identity",
    "burned-in text",
    "too few images",
    "not a video",
    "no picture",
    "too short",
]

FORMATS = ("PNG", "JPEG", "PPM", "BMP", "WEBP", "TIFF")  # Pillow reads PGM as PPM
SUFFIXES = (".png", ".jpg", ".jpeg", ".pgm", ".ppm", ".pnm", ".bmp", ".webp", ".tif", ".tiff")

_BYTES_PER_PIXEL = 8  # the largest of an uncompressed file: 4 channels of 16 bits
_BYTES_BESIDE = 16 << 20  # headers, thumbnails, colour profiles
LONGEST_SIDE = 65_535  # as JPEG has it; resizing needs memory by the side, 3 GB for an image of 64 million pixels in one row
_LARGE = 8_000_000  # pixels of an image of which only one is decoded at a time
_TWELVE_BITS = 4095
_LOOK = 16  # pixels a side of the thumbnail that colours are looked for in
_FAINT = 8  # grey levels between channels that JPEG may make of grey
_MAGIC = re.compile(rb"\x89PNG|\xff\xd8\xff|P[1-7]\s|BM|RIFF....WEBP|II\*\0|MM\0\*", re.DOTALL)
_ONE_LARGE = threading.Lock()  # threads decode side by side, and a large image takes up to 2 GB
_CUT = re.compile(r"truncat|unexpected end|not enough image data", re.IGNORECASE)


class BadImage(Exception):
    """An image that cannot be used.

    Args:
        reason: the kind it is counted under.
        detail: figures that help (never pixels).
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason} ({detail})" if detail else reason)


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    Attributes:
        pixels: (size, size, C) uint8.
        digest: 16 bytes that are equal for equal pictures, before resizing, whatever the file's format.
        width, height: before resizing, upright.
        coloured: it has colours, and `data.mode` is grey.
    """

    pixels: Pixels
    digest: bytes
    width: int
    height: int
    coloured: bool

    def enlarged(self, settings: DataSettings) -> float:
        """How many times longer the picture's sides became; of two sides the one that grew more. Below 1: it shrank."""
        side = max(self.width, self.height) if settings.resize == "pad" else min(self.width, self.height)
        return settings.size / side


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the decoders' warnings off the terminal: what they are about becomes a reason, or is harmless.

    Warning filters are global: this goes around a whole run of `decode`, outside its threads.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.|pydicom\.|openjpeg|libjpeg")
        yield


def largest_file(settings: DataSettings) -> int:
    """Bytes that no file of an image with `settings.max_pixels` pixels exceeds."""
    return settings.max_pixels * _BYTES_PER_PIXEL + _BYTES_BESIDE


def load(data: bytes | Path, settings: DataSettings) -> bytes:
    """The bytes of an image file, or BadImage: missing, no plain file, empty, or larger than its pixels may be."""
    if isinstance(data, Path):
        try:
            info = data.stat()
            if not stat.S_ISREG(info.st_mode):
                raise BadImage("missing", "not a file")
            if info.st_size > largest_file(settings):
                raise BadImage("too large", f"{info.st_size} bytes")
            data = data.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            raise BadImage("missing", getattr(error, "strerror", None) or "no such name") from None
    if not data:
        raise BadImage("empty")
    if len(data) > largest_file(settings):
        raise BadImage("too large", f"more than {largest_file(settings)} bytes")
    return data


def decode(data: bytes, settings: DataSettings) -> Decoded:
    """Decode, turn upright, bring to 8 bits and `settings.mode`, and resize to `settings.size`.

    The first frame counts where there are several. Transparent pixels become black. 16-bit grey is scaled by 1/257;
    where no pixel reaches 4096 it is taken for the 12 bits that X-ray detectors give, and scaled by 1/16.06.

    Raises:
        BadImage: not one of FORMATS, more than `settings.max_pixels` pixels or a side of 65,535 (told by the header),
            truncated, corrupt, or of a pixel type whose range is unknown (32-bit, floating point).
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as header:
            width, height = header.size
            check_size(width, height, settings)
            header.verify()  # checksums, which PNG has and loading ignores
        with one_large(width * height):
            return _decode(data, settings)
    except BadImage:
        raise
    except Image.DecompressionBombError:
        raise BadImage("too large", f"a decompression bomb; data.max_pixels is {settings.max_pixels}") from None
    except Exception as error:  # on damaged files Pillow's readers raise nearly anything
        raise BadImage(_why(data, error)) from None


def check_size(width: int, height: int, settings: DataSettings) -> None:
    """Raise BadImage for more pixels than `settings.max_pixels`, or a side of more than 65,535."""
    if width * height > settings.max_pixels:
        raise BadImage("too large", f"{width}x{height} pixels, data.max_pixels is {settings.max_pixels}")
    if max(width, height) > LONGEST_SIDE:
        raise BadImage("too large", f"{width}x{height} pixels, a side may have {LONGEST_SIDE}")


def one_large(pixels: int) -> AbstractContextManager[object]:
    """Held while an image is decoded: of large ones only one at a time."""
    return _ONE_LARGE if pixels > _LARGE else nullcontext()


def _decode(data: bytes, settings: DataSettings) -> Decoded:
    with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)  # else even an upright picture is copied
        return finish(_eight_bits(picture, picture.format), settings)


def finish(bright: Image.Image, settings: DataSettings) -> Decoded:
    """An upright picture of 8 bits, brought to mode and size.

    Raises:
        BadImage: its colours cannot be converted.
    """
    upright, coloured = _to_mode(bright, settings), settings.mode == "grey" and _has_colours(bright)
    pixels = np.asarray(_resize(upright, settings))
    digest = _digest(upright.mode, upright.size, _bytes_of(upright))
    return Decoded(pixels.reshape(settings.size, settings.size, -1), digest, *upright.size, coloured)


def _bytes_of(picture: Image.Image) -> bytes | memoryview:
    """What `picture.tobytes()` gives; of grey pictures without a copy, which takes twice as long as their digest."""
    width, height = picture.size
    if picture.mode == "L" and width * height:
        with suppress(ValueError):  # rows of very large pictures lie apart
            buffer = pa.array(picture).buffers()[1]
            if buffer is not None and buffer.size == width * height:
                return memoryview(buffer)
    return picture.tobytes()


def picture_digest(image: Pixels) -> bytes:
    """`Decoded.digest` of a picture that is decoded already, (H, W, C) uint8."""
    height, width, channels = image.shape
    return _digest("L" if channels == 1 else "RGB", (width, height), np.ascontiguousarray(image).tobytes())


def _digest(mode: str, size: tuple[int, int], pixels: bytes | memoryview) -> bytes:
    whole = hashlib.sha256(f"{mode} {size}".encode())
    whole.update(pixels)
    return whole.digest()[:16]


def _why(data: bytes, error: Exception) -> Reason:
    """What is the matter with a file that Pillow cannot read."""
    if isinstance(error, UnidentifiedImageError) and not _MAGIC.match(data):
        return "not an image"
    # Pillow has no words for a WebP cut short, but the file states its length
    short = data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 8 > len(data)
    return "truncated" if short or isinstance(error, EOFError) or _CUT.search(str(error)) else "corrupt"


def _eight_bits(picture: Image.Image, kind: str | None) -> Image.Image:
    """16-bit grey to 8 bits; transparency over black; everything else unchanged."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and kind in ("PNG", "PPM")):
        values = np.asarray(picture).astype(np.uint32)
        full = _TWELVE_BITS if values.size and values.max() <= _TWELVE_BITS else 65535
        return Image.fromarray(((values * 255 + full // 2) // full).astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise BadImage("unsupported", f"pixels of type {'int32' if picture.mode == 'I' else 'float32'}")
    if picture.has_transparency_data:
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, picture.convert("RGBA")).convert("RGB")
    return picture


def _to_mode(picture: Image.Image, settings: DataSettings) -> Image.Image:
    mode = "L" if settings.mode == "grey" else "RGB"
    try:
        return picture if picture.mode == mode else picture.convert(mode)
    except ValueError:
        raise BadImage("unsupported", f"colour mode {picture.mode}") from None


def _has_colours(picture: Image.Image) -> bool:
    """Whether grey would lose something; a grey picture that was saved as RGB has none."""
    if picture.mode in ("1", "L", "LA"):
        return False
    small = np.asarray(picture.convert("RGB").resize((_LOOK, _LOOK), Image.Resampling.BOX))
    return bool(np.ptp(small, axis=2).max() > _FAINT)


def _resize(picture: Image.Image, settings: DataSettings) -> Image.Image:
    """To a square: its centre (crop), with black bars (pad), or out of shape (stretch)."""
    size, (width, height) = settings.size, picture.size
    if settings.resize == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return picture.resize((size, size), Image.Resampling.LANCZOS, (left, top, left + side, top + side))
    if settings.resize == "stretch":
        return picture.resize((size, size), Image.Resampling.LANCZOS)
    scale = size / max(width, height)
    inner = (max(round(width * scale), 1), max(round(height * scale), 1))
    square = Image.new(picture.mode, (size, size))
    square.paste(picture.resize(inner, Image.Resampling.LANCZOS), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return square
