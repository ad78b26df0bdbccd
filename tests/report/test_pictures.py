"""Images become data URIs, or nothing."""

import base64
import io

import numpy as np
from PIL import Image

from pd.dataset.images import encode_png
from pd.report.pictures import contact_sheet, picture_uri


def opened(uri):
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_pictures_of_any_format_become_small_pngs():
    out = io.BytesIO()
    Image.new("RGB", (640, 480), (200, 10, 10)).save(out, "WEBP")
    assert opened(picture_uri(out.getvalue())).size == (160, 120)


def test_what_cannot_be_shown_is_none():
    assert picture_uri(None) is None
    assert picture_uri(b"not an image") is None
    assert contact_sheet([]) is None
    assert contact_sheet([b"not an image"]) is None


def test_sheet_keeps_order():
    tones = [encode_png(np.full((16, 16, 1), 20 * i, np.uint8)) for i in range(10)]
    sheet = np.asarray(opened(contact_sheet(tones, columns=4)))
    assert sheet.shape == (3 * 66 - 2, 4 * 66 - 2)
    assert [int(sheet[i // 4 * 66 + 30, i % 4 * 66 + 30]) for i in range(10)] == [20 * i for i in range(10)]
