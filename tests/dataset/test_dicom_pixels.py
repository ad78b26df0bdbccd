"""Grey levels of DICOM whose right values are computed by hand, and of pydicom's own files against pydicom's own functions."""

import io
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from dicom_makers import compressed, encoded, item, made
from PIL import Image
from pydicom.filewriter import write_file_meta_info
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from pd.config import DataSettings, DicomSettings
from pd.dataset import dicom_pixels
from pd.dataset.decode import BadImage
from pd.dataset.dicom_file import require_dicom
from pd.dataset.dicom_pixels import decode_dicom, shown

FILES = Path(pydicom.data.__file__).parent / "test_files"
SETTINGS = DataSettings(size=16, resize="stretch")
RAMP = np.arange(16 * 16, dtype=np.uint16).reshape(16, 16) * 16


@pytest.fixture(autouse=True)
def _quiet():
    require_dicom()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def words(*values):
    return np.array(values, "<u2").tobytes()


def grey(found, frame=0, **dicom):
    """(16, 16) uint8 by the whole way from bytes."""
    settings = SETTINGS.model_copy(update={"dicom": DicomSettings(**dicom)})
    return decode_dicom(encoded(found), settings, frame).pixels[:, :, 0]


def few(stored, **elements):
    """What the values in a first row become."""
    picture = np.zeros((16, 16), np.int64)
    picture[0, : len(stored)] = stored
    return grey(made(picture, **elements))[0, : len(stored)].tolist()


def test_all_values_without_a_window():
    assert np.array_equal(grey(made(RAMP)), np.floor(RAMP / 4080 * 255 + 0.5).astype(np.uint8))


def test_eight_bits_stay_as_they_are():
    assert few([3, 100, 255], bits=8) == [3, 100, 255]
    assert few([3, 100, 255], bits=8, photometric="MONOCHROME1") == [252, 155, 0]


def test_slope_and_intercept_before_the_window():
    # CT: 0, 1024, 2048 stored are -1024, 0, 1024 HU; centre 0, width 401: -200.5 and below black, 200.5 - 1 and above white
    assert few([0, 1024, 1124, 2048], RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=0.5, WindowWidth=401) == [
        0,
        128,  # 0.5 of 255 is 127.5, rounded up
        191,  # (100 / 400 + 0.5) * 255 = 191.25
        255,
    ]


def test_linear_window_of_the_standard():
    # PS3.3 C.11.2.1.2.1, its own example: x <= 0 is black, x > 4095 white, else (x - 2047.5) / 4095 + 0.5
    assert few([0, 1, 2048, 4095], WindowCenter=2048, WindowWidth=4096) == [0, 0, 128, 255]
    # width 1: <= centre - 0.5 black, above it white
    assert few([99, 100, 101], WindowCenter=100.5, WindowWidth=1) == [0, 0, 255]
    assert few([0, 100, 200], WindowCenter=100, WindowWidth=200, VOILUTFunction="LINEAR_EXACT") == [0, 128, 255]
    # 1 / (1 + exp(-4 (x - c) / w)): 0.5, and 0.8808 at x - c = w / 2
    assert few([100, 200], WindowCenter=100, WindowWidth=200, VOILUTFunction="SIGMOID") == [128, 225]
    assert few([0, 50], WindowCenter=[50, 400], WindowWidth=[101, 800]) == [1, 129]  # shares of 0.005 and 0.505


def test_inversion_comes_last():
    low = few([0, 1000, 4095], photometric="MONOCHROME1", WindowCenter=500, WindowWidth=101)
    assert low == [255, 0, 0]
    assert few([0, 500, 1000], photometric="MONOCHROME1", RescaleSlope=-1, RescaleIntercept=0) == [0, 127, 255]  # 255 - 128


def test_a_window_of_the_settings_counts_before_the_files():
    picture = made(RAMP, WindowCenter=1, WindowWidth=2)
    assert np.array_equal(grey(picture, window=(2048, 4096)), np.floor((RAMP - 2047.5) / 4095 * 255 + 127.5 + 0.5).clip(0, 255))


def test_signed_values():
    assert few([-1000, 0, 1000], signed=True, bits=16, WindowCenter=0.5, WindowWidth=2001) == [0, 128, 255]


def test_padding_does_not_stretch():
    picture = np.full((16, 16), 100)
    picture[0, :3] = [4000, 50, 150]
    found = grey(made(picture, PixelPaddingValue=4000))
    assert found[0, :3].tolist() == [255, 0, 255]
    assert found[1, 0] == 128


def test_voi_table():
    # values 10, 11, 12 and above -> 0, 2048, 4095 of 12 bits
    table = item(LUTDescriptor=[3, 10, 12], LUTData=words(0, 2048, 4095))
    picture = np.full((16, 16), 5)
    picture[0, :4] = [10, 11, 12, 99]
    assert grey(made(picture, VOILUTSequence=[table]))[0, :5].tolist() == [0, 128, 255, 255, 0]


@pytest.mark.parametrize("packed", [True, False])
def test_voi_table_of_many_entries_of_eight_bits(packed):
    entries = np.arange(4096) // 16
    table = item(LUTDescriptor=[4096, 0, 8], LUTData=entries.astype("u1" if packed else "<u2").tobytes())
    picture = np.arange(256).reshape(16, 16) * 16
    np.testing.assert_array_equal(grey(made(picture, VOILUTSequence=[table])), picture // 16)


@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, False), (12, True)])
def test_modality_table_of_another_size_than_the_values(bits, signed):
    table = item(LUTDescriptor=[4096, 0, 12], LUTData=(np.arange(4096) // 2).astype("<u2").tobytes(), ModalityLUTType="US")
    picture = np.arange(256).reshape(16, 16) - (100 if signed else 0)
    found = grey(made(picture, bits=bits, signed=signed, ModalityLUTSequence=[table], WindowCenter=64, WindowWidth=129))
    right = np.floor(np.clip((picture.clip(0) // 2 - 63.5) / 128 + 0.5, 0, 1) * 255 + 0.5)
    np.testing.assert_array_equal(found, right)


@pytest.mark.parametrize(("descriptor", "reason"), [([4, 0, 12], "truncated"), ([3, 0, 40], "unsupported")])
def test_a_voi_table_that_lies(descriptor, reason):
    table = item(LUTDescriptor=descriptor, LUTData=words(0, 2048, 4095))
    with pytest.raises(BadImage) as caught:
        grey(made(np.zeros((16, 16)), VOILUTSequence=[table]))
    assert caught.value.reason == reason


def test_modality_table_then_window():
    table = item(LUTDescriptor=[3, 0, 16], LUTData=words(0, 100, 200), ModalityLUTType="US")
    picture = np.zeros((16, 16), np.int64)
    picture[0, :3] = [0, 1, 2]
    assert grey(made(picture, ModalityLUTSequence=[table], WindowCenter=100.5, WindowWidth=201))[0, :3].tolist() == [
        0,
        128,
        255,
    ]


def test_frames_and_their_own_windows():
    stack = np.stack([RAMP, RAMP[::-1]])
    assert np.array_equal(grey(made(stack), 1), grey(made(RAMP[::-1])))
    groups = [
        item(
            FrameVOILUTSequence=[item(WindowCenter=c, WindowWidth=w)],
            PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=1)],
        )
        for c, w in ((0, 10), (2048, 4096))
    ]
    found = grey(made(stack, PerFrameFunctionalGroupsSequence=groups), 1)
    assert np.array_equal(found, np.floor(((RAMP[::-1] * 2 + 1) - 2047.5) / 4095 * 255 + 127.5 + 0.5).clip(0, 255))


def test_colours():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    settings = SETTINGS.model_copy(update={"mode": "rgb"})
    assert np.array_equal(decode_dicom(encoded(made(pixels, bits=8, photometric="RGB")), settings).pixels, pixels)
    assert decode_dicom(encoded(made(pixels, bits=8, photometric="RGB")), SETTINGS).coloured


def test_compressed_frames_are_the_same_pictures():
    found = made(RAMP)
    plain = grey(found)
    again = made(RAMP)
    again.compress(RLELossless, encoding_plugin="pydicom")
    assert np.array_equal(grey(again), plain)
    large = np.kron(RAMP, np.ones((8, 8), np.uint16))
    again = made(large)
    again.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg")
    assert np.array_equal(grey(again), grey(made(large)))
    out = io.BytesIO()
    eight = (RAMP // 16).astype(np.uint8)
    Image.fromarray(eight).save(out, "JPEG", quality=95)
    decoded = np.asarray(Image.open(io.BytesIO(out.getvalue()))).astype(int)
    found = grey(compressed(made(eight, bits=8), [out.getvalue()], JPEGBaseline8Bit)).astype(int)
    assert abs(found - decoded).max() <= 1  # two decoders of JPEG may round apart


SHOWN = "CT_small MR_small MR_small_RLE MR_small_jp2klossless MR_small_jpeg_ls_lossless MR_small_bigendian MR_small_implicit"


@pytest.mark.parametrize("name", [*SHOWN.split(), "693_J2KI", "JPGExtended", "image_dfl", "JPEG2000"])
def test_files_of_pydicom_as_pydicom_shows_them(name):
    data = (FILES / f"{name}.dcm").read_bytes()
    found = pydicom.dcmread(io.BytesIO(data))
    values = apply_voi_lut(apply_modality_lut(found.pixel_array, found), found)
    settings = DataSettings(size=16)
    ours = shown(found, found.pixel_array, 0, settings).astype(float)
    if "WindowWidth" in found or "VOILUTSequence" in found:
        low, high = float(values.min()), float(values.max())
        theirs = (values - low) / max(high - low, 1) * (ours.max() - ours.min()) + ours.min()
    else:
        low, high = float(values.min()), float(values.max())
        theirs = values.astype(float) if found.BitsStored <= 8 else (values - low) / (high - low) * 255
    if found.PhotometricInterpretation == "MONOCHROME1":
        theirs = 255 - theirs
    assert abs(ours - theirs).max() <= 1.01
    assert decode_dicom(data, settings).pixels.shape == (16, 16, 1)


def test_each_compressed_file_is_its_uncompressed_one():
    plain = decode_dicom((FILES / "MR_small.dcm").read_bytes(), SETTINGS)
    for name in ("RLE", "jp2klossless", "jpeg_ls_lossless", "bigendian", "implicit", "expb"):
        assert decode_dicom((FILES / f"MR_small_{name}.dcm").read_bytes(), SETTINGS).digest == plain.digest, name


def reason(data, **more):
    with pytest.raises(BadImage) as caught:
        decode_dicom(data, SETTINGS.model_copy(update=more))
    return caught.value.reason


def test_hostile_files():
    assert reason(encoded(made(RAMP)), max_pixels=100) == "too large"
    assert reason(encoded(made(RAMP, Rows=60000, Columns=60000))) == "too large"
    assert reason(encoded(made(RAMP, Rows=0))) == "unsupported"
    assert reason(encoded(made(RAMP))[:-100]) in ("truncated", "corrupt")
    assert reason(encoded(made(RAMP, NumberOfFrames=10**9))) == "corrupt"
    assert reason(b"") == "corrupt"
    assert reason(encoded(made(RAMP, PhotometricInterpretation="XYZ"))) == "unsupported"


def test_a_frame_that_is_larger_than_the_header_says():
    out = io.BytesIO()
    Image.new("L", (4000, 4000)).save(out, "JPEG")
    assert reason(encoded(compressed(made(RAMP // 16, bits=8), [out.getvalue()], JPEGBaseline8Bit))) == "corrupt"
    out = io.BytesIO()
    Image.new("L", (500, 500)).save(out, "JPEG2000")
    assert reason(encoded(compressed(made(RAMP // 16, bits=8), [out.getvalue()], JPEG2000Lossless))) == "corrupt"
    bomb = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + b"\0" * 56 + b"\x81\0" * 200_000
    assert reason(encoded(compressed(made(RAMP // 16, bits=8), [bomb], RLELossless))) == "too large"


def test_deflate_bombs():
    data = encoded(made(RAMP))
    meta = pydicom.dcmread(io.BytesIO(data)).file_meta
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    head = io.BytesIO()
    head.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(head, meta)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(b"\x10\x00\x20\x00LO\x00\x00" * 4_000_000) + packer.flush()
    assert len(bomb) < 200_000
    assert reason(head.getvalue() + bomb, max_pixels=1_000_000) == "too large"


def test_nesting_without_an_end():
    deep = b"\xfe\xff\x00\xe0\xff\xff\xff\xff\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" * 20_000
    data = encoded(made(RAMP))
    assert reason(data[:400] + b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + deep) in ("corrupt", "truncated", "unsupported")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int16])
def test_a_table_of_levels_gives_what_each_pixel_by_itself_gives(kind, monkeypatch):
    rng = np.random.default_rng(0)
    ends = np.iinfo(kind)
    for low, high in ((ends.min, ends.max), (3, 200)):
        stored = rng.integers(low, high, (300, 300), endpoint=True).astype(kind)
        for more in ({}, {"WindowCenter": 90, "WindowWidth": 60}, {"RescaleSlope": 0.5, "RescaleIntercept": -7}):
            found = made(stored, bits=8 * stored.dtype.itemsize, photometric="MONOCHROME1", **more)
            quick = shown(found, stored, 0, DataSettings())
            with monkeypatch.context() as patched:
                patched.setattr(dicom_pixels, "_levels", lambda pixels: (pixels, None))
                assert np.array_equal(quick, shown(found, stored, 0, DataSettings()))
