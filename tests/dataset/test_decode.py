import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pd.dataset.decode import BadImage, _bytes_of, decode, load, quiet

FORMATS = ("PNG", "JPEG", "PPM", "BMP", "WEBP", "TIFF")


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **({"lossless": True} if kind == "WEBP" else {}), **options)
    return out.getvalue()


def reason_of(data: bytes, settings) -> str:
    with quiet(), pytest.raises(BadImage) as caught:
        decode(data, settings)
    return caught.value.reason


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("source", ["L", "RGB"])
@pytest.mark.parametrize("mode", ["grey", "rgb"])
def test_every_format(kind, source, mode, photo, settings):
    picture = photo(1, 16, 16, source)
    expected = np.asarray(picture.convert("L" if mode == "grey" else "RGB"), dtype=int).reshape(16, 16, -1)
    pixels = decode(
        encoded(picture, kind, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {})), settings(mode=mode)
    ).pixels
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    assert np.abs(pixels - expected).max() <= (8 if kind == "JPEG" else 0)


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK"])
@pytest.mark.parametrize("target", ["grey", "rgb"])
def test_colour_modes(mode, target, photo, settings):
    picture = photo(2, 16, 16, "RGB").convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    pixels = decode(encoded(picture, kind), settings(mode=target)).pixels
    expected = picture.convert("RGB").convert("L" if target == "grey" else "RGB")
    assert np.abs(pixels.astype(int) - np.asarray(expected, int).reshape(pixels.shape)).max() <= 1


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
def test_an_image_of_one_long_row_is_refused(resize, settings):
    """To resize it would take 48 bytes for each pixel of the side: 3 GB for 64 million of them."""
    data = b"P5 60000000 1 255\n" + bytes(60_000_000)
    assert reason_of(data, settings(resize=resize)) == "too large"
    assert decode(b"P5 60000 20 255\n" + bytes(1_200_000), settings(resize=resize)).pixels.shape == (16, 16, 1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(kind, settings):
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    pixels = decode(encoded(Image.fromarray(values), kind), settings()).pixels
    assert np.array_equal(pixels[:, :, 0], np.arange(256).reshape(16, 16))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_12_bits_in_a_16_bit_file_use_the_whole_range(kind, settings):
    values = np.linspace(0, 4095, 256).astype(np.uint16).reshape(16, 16)
    pixels = decode(encoded(Image.fromarray(values), kind), settings()).pixels
    assert np.abs(pixels[:, :, 0].astype(int) - np.arange(256).reshape(16, 16)).max() <= 1
    brighter = np.where(values == 4095, 4096, values).astype(np.uint16)
    assert decode(encoded(Image.fromarray(brighter), kind), settings()).pixels.max() == 16


def test_big_endian_16_bit_tiff(settings):
    values = np.linspace(0, 65535, 256).astype(">u2").reshape(16, 16)
    pixels = decode(encoded(Image.frombytes("I;16B", (16, 16), values.tobytes()), "TIFF"), settings()).pixels
    assert np.array_equal(pixels[:, :, 0], np.arange(256).reshape(16, 16))


def test_transparent_pixels_hide_what_is_below(settings):
    values = np.full((16, 16, 4), 200, np.uint8)
    values[:8, :, 3] = 0
    values[8:, :, 3] = 255
    pixels = decode(encoded(Image.fromarray(values)), settings()).pixels
    assert pixels[:8].max() == 0
    assert pixels[8:].min() == 200


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(kind, orientation, settings):
    """The stored picture of each orientation shows the same scene: bright at the top left only."""
    scene = Image.fromarray(np.pad(np.full((8, 8), 255, np.uint8), ((0, 8), (0, 8))))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that leads from upright to stored
    stored = scene if orientation == 1 else scene.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[274] = orientation
    pixels = decode(encoded(stored, kind, exif=exif), settings()).pixels[:, :, 0]
    assert pixels[:7, :7].min() > 240
    assert pixels[9:].max() < 15
    assert pixels[:, 9:].max() < 15


def test_exif_orientation_of_16_bit_grey(settings):
    values = np.zeros((16, 16), np.uint16)
    values[:8] = 65535
    exif = Image.Exif()
    exif[274] = 3
    pixels = decode(encoded(Image.fromarray(values), "PNG", exif=exif), settings()).pixels[:, :, 0]
    assert pixels[:8].max() == 0
    assert pixels[8:].min() == 255


def stripes() -> bytes:
    """48x16, a third each of black, grey, white."""
    return encoded(Image.fromarray(np.repeat(np.array([[0, 128, 255]], np.uint8), 16, 0).repeat(16, 1)))


def test_resizing(settings):
    crop, pad, stretch = (decode(stripes(), settings(resize=how)).pixels[:, :, 0] for how in ("crop", "pad", "stretch"))
    assert crop.min() == crop.max() == 128
    assert pad[:5].max() == pad[11:].max() == 0
    assert pad[8, -2] == 255
    assert stretch[:, -2].min() == 255
    assert stretch[:, 1].max() == 0


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 17)])
def test_any_shape_gives_a_square(how, shape, photo, settings):
    assert decode(encoded(photo(1, *shape)), settings(resize=how, size=24)).pixels.shape == (24, 24, 1)


def test_the_digest_is_of_the_picture_not_of_the_file(photo, settings):
    digests = {decode(encoded(photo(3), kind), settings()).digest for kind in ("PNG", "BMP", "TIFF", "PPM")}
    assert len(digests) == 1
    assert decode(encoded(photo(4)), settings()).digest not in digests
    assert decode(encoded(photo(3, 40, 40)), settings()).digest not in digests


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_cut_short_anywhere(kind, share, photo, settings):
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    assert reason_of(whole[: int(len(whole) * share)], settings()) in ("truncated", "corrupt")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "PPM", "BMP", "WEBP"])
def test_cut_short_is_called_truncated(kind, settings):
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), kind)
    assert reason_of(whole[: len(whole) // 2], settings()) == "truncated"


def test_one_flipped_byte_in_a_png_is_seen(photo, settings):
    data = bytearray(encoded(photo(1)))
    data[data.index(b"IDAT") + 20] ^= 1
    assert reason_of(bytes(data), settings()) == "corrupt"


def test_random_damage_never_escapes(photo, settings):
    """Whatever Pillow makes of damage, it is an image or a BadImage."""
    rng = np.random.default_rng(5)
    outcomes = set()
    for kind in FORMATS:
        whole = np.frombuffer(encoded(photo(6, 32, 32, "RGB"), kind), np.uint8)
        for _ in range(40):
            data = whole.copy()
            data[rng.integers(0, len(data), 8)] = rng.integers(0, 256, 8)
            try:
                with quiet():
                    outcomes.add(decode(data.tobytes(), settings()).pixels.shape)
            except BadImage as bad:
                outcomes.add(bad.reason)
    assert (16, 16, 1) in outcomes
    assert "corrupt" in outcomes


@pytest.mark.parametrize("data", [b"hello", b"\0" * 100, b"GIF89a" + b"\0" * 50, b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg></svg>"])
def test_other_files_are_no_images(data, settings):
    assert reason_of(data, settings()) == "not an image"


def test_a_real_gif_is_not_on_the_list(photo, settings):
    assert reason_of(encoded(photo(1), "GIF"), settings()) == "not an image"


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that claims to be side x side."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 12_000, 60_000])
def test_bombs_are_refused_by_their_header(side, settings):
    assert reason_of(bomb(side), settings()) == "too large"


def test_max_pixels_is_a_limit_not_below(photo, settings):
    assert decode(encoded(photo(1, 10, 10)), settings(max_pixels=100)).pixels.shape == (16, 16, 1)
    assert reason_of(encoded(photo(1, 10, 11)), settings(max_pixels=100)) == "too large"


def test_floating_point_is_unsupported(settings):
    assert reason_of(encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"), settings()) == "unsupported"
    assert reason_of(encoded(Image.fromarray(np.ones((8, 8), np.int32)), "TIFF"), settings()) == "unsupported"


def test_load(tmp_path, settings):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "empty").touch()
    assert load(tmp_path / "a", settings()) == load(b"abc", settings()) == b"abc"
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 30)
    for name, reason in {
        "none": "missing",
        "empty": "empty",
        ".": "missing",
        "pipe": "missing",
        "huge": "too large",
    }.items():
        with pytest.raises(BadImage) as caught:
            load(tmp_path / name, settings(max_pixels=1000))
        assert caught.value.reason == reason
    for data in (b"", tmp_path / "a\0b", tmp_path / ("x" * 300)):
        with pytest.raises(BadImage):
            load(data, settings())


@pytest.mark.parametrize(("mode", "size"), [("L", (1, 1)), ("L", (33, 7)), ("L", (6000, 6000)), ("RGB", (33, 7))])
def test_the_bytes_of_a_picture_are_those_that_pillow_gives(mode, size):
    """Whether or not they are copied: digests of another version of pd stay the same."""
    picture = Image.effect_noise(size, 90).convert(mode)
    assert bytes(_bytes_of(picture)) == picture.tobytes()
