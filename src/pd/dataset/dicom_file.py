"""DICOM files that nobody has checked: headers, and one frame as stored, with bounds on what either may unpack to."""

import io
import logging
import struct
import zlib
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from pd.config import DataSettings
from pd.dataset.decode import BadImage, check_size, largest_file
from pd.errors import UserError

_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_RLE = "1.2.840.10008.1.2.5"
_PHOTOMETRIC = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
_MOST_FRAMES = 100_000
_START = 132  # bytes of preamble and magic

Dataset = Any  # pydicom is an extra


def require_dicom() -> None:
    """Raise UserError where the packages that read DICOM are not installed."""
    try:
        import pydicom
        import pylibjpeg  # noqa: F401
    except ImportError:
        what = "DICOM needs packages that are not installed"
        raise UserError(
            what, code="missing-package", where="data.reader", fix='pip install "privacy-distillation[dicom]"'
        ) from None
    # what it warns of quotes values of headers
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def is_dicom(file: BinaryIO) -> bool:
    """Whether a file begins as DICOM files do (PS3.10, 7.1)."""
    return file.read(_START)[128:] == b"DICM"


def read_header(file: BinaryIO, settings: DataSettings, tags: list[str]) -> Dataset:
    """Some elements of a header, by keyword; the pixels are not read.

    Raises:
        BadImage: it cannot be read, or unpacks to more than a picture may.
    """
    return _read(file, settings, {"stop_before_pixels": True, "specific_tags": tags})


def read_whole(data: bytes, settings: DataSettings) -> Dataset:
    """A file with its pixels, still encoded; raises BadImage as `read_header`."""
    return _read(io.BytesIO(data), settings, {})


def frames_in(header: Dataset) -> int:
    """How many frames a header says there are, at least 1; raises BadImage for a number that cannot be."""
    try:
        frames = int(header.get("NumberOfFrames") or 1)
    except (TypeError, ValueError):
        frames = 0
    if not 1 <= frames <= _MOST_FRAMES:
        raise BadImage("corrupt", "a number of frames that cannot be")
    return frames


def stored_frame(found: Dataset, frame: int, settings: DataSettings) -> npt.NDArray[Any]:
    """A frame as stored, (rows, columns) or (rows, columns, 3) in RGB; nothing is unpacked that is not of the stated size.

    Raises:
        BadImage: sizes that cannot be, do not agree or are too large, a transfer syntax that cannot be read, or damage.
    """
    from pydicom.pixels import pixel_array

    rows, columns = _number(found, "Rows"), _number(found, "Columns")
    samples = _number(found, "SamplesPerPixel", 1)
    if rows < 1 or columns < 1 or samples not in (1, 3):
        raise BadImage("unsupported", "no picture of one or three values a pixel")
    check_size(columns, rows, settings)
    count = frames_in(found)
    if frame >= count:
        raise BadImage("truncated", "fewer frames than it says")
    if str(found.get("PhotometricInterpretation")) not in _PHOTOMETRIC:
        raise BadImage("unsupported", "a photometric interpretation that is not read")
    syntax = found.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        _check_encoded(found, frame, count, rows, columns, samples)
    # Of grey baseline JPEG, Pillow's decoder is several times as fast as pydicom's first choice, and lets other threads run.
    quick = syntax == _JPEG_BASELINE and samples == 1
    return np.asarray(pixel_array(found, index=frame, decoding_plugin="pillow" if quick else ""))


def _read(file: BinaryIO, settings: DataSettings, how: dict[str, Any]) -> Dataset:
    from pydicom import dcmread
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset, read_preamble

    try:
        read_preamble(file, False)
        meta = FileMetaDataset(read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2))
        if meta.TransferSyntaxUID != _DEFLATED:
            file.seek(0)
            return dcmread(file, **how)
        whole = io.BytesIO(_inflated(file.read(), largest_file(settings)))
        stop = (lambda tag, vr, length: tag >= 0x7FE00000) if how.get("stop_before_pixels") else None
        found = read_dataset(whole, False, True, stop_when=stop)
        found.file_meta = meta
        return found
    except BadImage:
        raise
    except Exception as error:  # on damaged files pydicom raises nearly anything
        raise BadImage("truncated" if isinstance(error, EOFError) else "corrupt") from None


def _inflated(data: bytes, most: int) -> bytes:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    whole = unpacker.decompress(data, most + 1)
    if len(whole) > most:
        raise BadImage("too large", f"a decompression bomb, more than {most} bytes")
    return whole


def _number(found: Dataset, keyword: str, default: int = 0) -> int:
    value = found.get(keyword)
    return value if isinstance(value, int) else default


def _check_encoded(found: Dataset, frame: int, count: int, rows: int, columns: int, samples: int) -> None:
    """Raise BadImage where a frame unpacks to another size than the header says: decoders believe the frame."""
    from pydicom.encaps import get_frame

    data = get_frame(found.PixelData, frame, number_of_frames=count)
    if found.file_meta.TransferSyntaxUID == _RLE:
        bytes_each = max(_number(found, "BitsAllocated"), 8) // 8
        _check_rle(data, rows * columns, samples * bytes_each)
        return
    size = _jpeg_size(data) if data.startswith(b"\xff\xd8") else _jpeg2000_size(data)
    if size is None:
        raise BadImage("corrupt", "no picture in a frame")
    if size != (rows, columns, samples):
        raise BadImage("corrupt", "a frame of another size than the header says")


def _jpeg_size(data: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components by the first frame header of JPEG or JPEG-LS."""
    place = 2
    while place + 9 < len(data):
        if data[place] != 0xFF:
            return None
        kind = data[place + 1]
        if kind == 0xFF:  # a filling byte
            place += 1
            continue
        if (0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC)) or kind == 0xF7:
            rows, columns, parts = struct.unpack(">HHB", data[place + 5 : place + 10])
            return rows, columns, parts
        if kind == 0xDA:
            return None
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _jpeg2000_size(data: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components by the SIZ marker, which follows SOC at once."""
    place = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if place < 0 or place + 42 > len(data):
        return None
    right, bottom, left, top, wide, high = struct.unpack(">6I", data[place + 8 : place + 32])
    parts = int.from_bytes(data[place + 40 : place + 42], "big")
    if left >= right or top >= bottom or wide == 0 or high == 0:
        return None
    return bottom - top, right - left, parts


def _check_rle(data: bytes, pixels: int, segments: int) -> None:
    """Raise BadImage where a segment of run lengths (PS3.5, G.3) unpacks to more than its pixels."""
    if len(data) < 64:
        raise BadImage("truncated")
    count, *offsets = struct.unpack("<16I", data[:64])
    if count != segments:
        raise BadImage("corrupt", "another number of RLE segments than the header says")
    ends = [*offsets[1:count], len(data)]
    for place, end in zip(offsets[:count], ends, strict=True):
        length = 0
        while place < end <= len(data) and length <= pixels:
            code = data[place]
            if code < 128:
                length, place = length + code + 1, place + code + 2
            else:
                length, place = length + (257 - code if code > 128 else 0), place + (2 if code > 128 else 1)
        if length > pixels + 1:  # a byte may be added to make it even
            raise BadImage("too large", "a frame unpacks to more than it says")
