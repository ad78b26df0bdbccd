"""From stored values of DICOM to grey levels: modality LUT, then VOI LUT or window, then inversion (PS3.3 C.11, PS3.4 N.2).

A picture without a window shows all its values, from the smallest to the largest that is not padding; of 8 bits or fewer it
stays as it is.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pd.config import DataSettings
from pd.dataset.decode import BadImage, Decoded, finish, one_large
from pd.dataset.dicom_file import Dataset, read_whole, stored_frame

Values = npt.NDArray[Any]
Pixels = npt.NDArray[np.uint8]


def decode_dicom(data: bytes, settings: DataSettings, frame: int = 0) -> Decoded:
    """A frame of a DICOM file, brought to 8 bits, mode and size.

    Raises:
        BadImage: damaged, too large, or of a kind that is not read.
    """
    found = read_whole(data, settings)
    try:
        pixels = int(found.get("Rows") or 0) * int(found.get("Columns") or 0)
        with one_large(pixels):
            return finish(Image.fromarray(shown(found, stored_frame(found, frame, settings), frame, settings)), settings)
    except BadImage:
        raise
    except NotImplementedError:
        raise BadImage("unsupported", "a transfer syntax that is not read") from None
    except Exception as error:  # on damaged files decoders raise nearly anything
        raise BadImage("truncated" if "less" in str(error) or "missing" in str(error) else "corrupt") from None


def shown(found: Dataset, stored: Values, frame: int, settings: DataSettings) -> Pixels:
    """(rows, columns) uint8, or (rows, columns, 3) in RGB: stored values as a viewer shows them."""
    photometric = str(found.get("PhotometricInterpretation", ""))
    if photometric == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        return _colours(apply_color_lut(stored, found), 16)
    if stored.ndim == 3:
        return _colours(stored, int(found.get("BitsStored") or 8))
    padding = _padding(found, stored)
    levels, at = (stored, None) if padding is not None else _levels(stored)
    share = voi(found, modality(found, levels, frame), frame, settings, padding)
    grey = np.floor(np.clip(share, 0.0, 1.0) * 255 + 0.5).astype(np.uint8)
    grey = 255 - grey if photometric == "MONOCHROME1" else grey
    return grey if at is None else _looked_up_grey(grey, at)


def _looked_up_grey(grey: Pixels, at: Values) -> Pixels:
    """`grey[at]`; of at most 256 levels by a table of bytes, which is several times as fast."""
    if at.dtype != np.uint8:
        return grey.take(at)
    table = np.zeros(256, np.uint8)
    table[: len(grey)] = grey
    return np.frombuffer(at.tobytes().translate(table.tobytes()), np.uint8).reshape(at.shape)


def _levels(stored: Values) -> tuple[Values, Values | None]:
    """All values from the least to the largest, and which of them each pixel has: what follows from a value alone is worked
    out once. Where that would be more work, the pixels themselves, and None.
    """
    if stored.dtype.kind not in "iu" or stored.dtype.itemsize > 2 or not stored.size:
        return stored, None
    low, high = int(stored.min()), int(stored.max())
    if high - low >= stored.size:
        return stored, None
    wide = stored if stored.dtype.kind == "u" else stored.astype(np.int32)
    return np.arange(low, high + 1).astype(stored.dtype), wide - wide.dtype.type(low)


def modality(found: Dataset, stored: Values, frame: int) -> Values:
    """Stored values as what was measured: by a table, or by slope and intercept (PS3.3 C.11.1)."""
    holder = _holder(found, frame, "PixelValueTransformationSequence")
    if holder is None and found.get("ModalityLUTSequence"):
        return looked_up(found.ModalityLUTSequence[0], stored, _little(found))
    holder = found if holder is None else holder
    slope, intercept = float(holder.get("RescaleSlope", 1) or 1), float(holder.get("RescaleIntercept", 0) or 0)
    if not (np.isfinite(slope) and np.isfinite(intercept)):
        raise BadImage("corrupt", "a slope or an intercept that is no number")
    return stored if (slope, intercept) == (1.0, 0.0) else stored * slope + intercept


def voi(found: Dataset, values: Values, frame: int, settings: DataSettings, padding: npt.NDArray[np.bool_] | None) -> Values:
    """Measured values as shares of full brightness, mostly 0 to 1 (PS3.3 C.11.2)."""
    if settings.dicom.window is not None:
        return linear(values, *settings.dicom.window)
    holder = _holder(found, frame, "FrameVOILUTSequence")
    holder = found if holder is None else holder
    if holder.get("VOILUTSequence"):
        table = holder.VOILUTSequence[0]
        return looked_up(table, values, _little(found)) / float(2 ** int(_items(table.LUTDescriptor)[2]) - 1)
    centres, widths = _items(holder.get("WindowCenter")), _items(holder.get("WindowWidth"))
    if centres and widths:
        centre, width = float(centres[0]), float(widths[0])
        function = str(holder.get("VOILUTFunction", "") or "LINEAR")
        if np.isfinite(centre) and np.isfinite(width) and width > 0:
            if function == "SIGMOID":
                return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
            return (values - centre) / width + 0.5 if function == "LINEAR_EXACT" else linear(values, centre, width)
    bits = int(found.get("BitsStored") or 16)
    if bits <= 8 and values.dtype == np.uint8:
        return values / float(2**bits - 1)
    inner = values if padding is None or padding.all() else values[~padding]
    low, high = float(inner.min()), float(inner.max())
    return (values - low) / (high - low) if high > low else np.zeros(values.shape)


def looked_up(table: Dataset, values: Values, little: bool) -> Values:
    """Entries of a modality or VOI table (PS3.3 C.11.1.1, C.11.2.1.1). pydicom 3 takes those of 8 bits for 256 entries at most.

    Args:
        table: an item of the sequence. Entries of 8 bits may be written in a byte or in two.
        values: that they stand for.
        little: the order of bytes of the file.

    Raises:
        BadImage: it has fewer entries than it says, or entries of a size that cannot be.
    """
    entries, first, bits = (int(number) for number in _items(table.LUTDescriptor)[:3])
    entries = entries or 1 << 16
    if not 8 <= bits <= 16 or entries < 0:
        raise BadImage("unsupported", "a table of entries that are not of 8 to 16 bits")
    data = table.LUTData
    if isinstance(data, bytes):
        packed = bits == 8 and len(data) < 2 * entries
        data = np.frombuffer(data[: entries if packed else 2 * entries], "u1" if packed else "<u2" if little else ">u2")
    found = np.asarray(_items(data), np.int64) if not isinstance(data, np.ndarray) else data
    if len(found) < entries:
        raise BadImage("truncated", "a table of fewer entries than it says")
    return found[np.clip(np.rint(values).astype(np.int64) - first, 0, entries - 1)]


def _little(found: Dataset) -> bool:
    return bool(found.file_meta.TransferSyntaxUID.is_little_endian)


def linear(values: Values, centre: float, width: float) -> Values:
    """The window of PS3.3 C.11.2.1.2.1 as shares: a width of 1 is a step at the centre less a half."""
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return (values - (centre - 0.5)) / (width - 1) + 0.5


def _padding(found: Dataset, stored: Values) -> npt.NDArray[np.bool_] | None:
    value = found.get("PixelPaddingValue")
    if not isinstance(value, int):
        return None
    limit = found.get("PixelPaddingRangeLimit")
    low, high = sorted((value, limit if isinstance(limit, int) else value))
    return (stored >= low) & (stored <= high)


def _colours(values: Values, bits: int) -> Pixels:
    """Three values a pixel, of up to 16 bits, to 8."""
    if values.dtype == np.uint8 and bits <= 8:
        return np.ascontiguousarray(values)
    most = 2 ** min(max(bits, 1), 16) - 1
    scaled: Pixels = ((values.astype(np.uint32) * 255 + most // 2) // most).clip(0, 255).astype(np.uint8)
    return scaled


def _holder(found: Dataset, frame: int, sequence: str) -> Dataset | None:
    """The item that says something of a frame of an enhanced multi-frame file: its own, or the one shared by all."""
    frames, shared = found.get("PerFrameFunctionalGroupsSequence"), found.get("SharedFunctionalGroupsSequence")
    for groups, at in ((frames, frame), (shared, 0)):
        if groups and at < len(groups) and groups[at].get(sequence):
            return groups[at].get(sequence)[0]
    return None


def _items(value: object) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value]
