"""Images as data URIs and contact sheets: the report asks nothing of any other file."""

import base64
import io
from collections.abc import Sequence

from PIL import Image, UnidentifiedImageError

_TILE = 64
_GAP = 2


def picture_uri(data: bytes | None, side: int = 160) -> str | None:
    """A PNG data URI of one image, shrunk to `side` pixels; None when there is none or it cannot be decoded."""
    picture = _open(data)
    if picture is None:
        return None
    picture.thumbnail((side, side))
    return _uri(picture)


def contact_sheet(images: Sequence[bytes], columns: int = 8) -> str | None:
    """A PNG data URI of images in rows, each fitted into a 64-pixel tile; None when there are none."""
    pictures = [picture for picture in map(_open, images) if picture is not None]
    if not pictures:
        return None
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    step = _TILE + _GAP
    mode = "RGB" if any(picture.mode == "RGB" for picture in pictures) else "L"
    sheet = Image.new(mode, (columns * step - _GAP, rows * step - _GAP), 128 if mode == "L" else (128, 128, 128))
    for place, picture in enumerate(pictures):
        scale = _TILE / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        tile = picture.resize(size, Image.Resampling.LANCZOS)
        corner = ((_TILE - size[0]) // 2, (_TILE - size[1]) // 2)
        sheet.paste(tile, (place % columns * step + corner[0], place // columns * step + corner[1]))
    return _uri(sheet)


def _open(data: bytes | None) -> Image.Image | None:
    if not data:
        return None
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return picture.convert("L" if picture.mode in ("L", "1") else "RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None


def _uri(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
