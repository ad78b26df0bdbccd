"""Hostile inputs for the readers, each written into a folder: pictures, folders, manifests, Parquet and tar."""

import csv
import io
import json
import tarfile
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hostile.mutate import NUMBERS, mutated, sound_png, sound_tar, word
from PIL import Image

PEOPLE = 7


def picture(seed: int, kind: str = "PNG", mode: str = "L", side: int = 16) -> bytes:
    """An encoded picture of noise."""
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 4), dtype=np.uint8)
    image = Image.fromarray(values).convert(mode) if mode != "I;16" else Image.fromarray(values.view(np.uint16)[..., 0])
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


@cache
def pictures() -> list[bytes]:
    """One of each format and mode that is read."""
    kinds = [("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
    kinds += [("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("BMP", "RGB"), ("PPM", "L"), ("PPM", "RGB"), ("WEBP", "RGB")]
    kinds += [("WEBP", "RGBA"), *(("TIFF", mode) for mode in ("1", "L", "RGB", "CMYK", "I;16", "F"))]
    return [picture(seed, kind, mode) for seed, (kind, mode) in enumerate(kinds)]


def bad_picture(rng: np.random.Generator) -> bytes:
    """A picture with something wrong in it, its checksums mostly right."""
    data = mutated(pictures()[rng.integers(len(pictures()))], rng, pictures())
    return sound_png(data) if data.startswith(b"\x89PNG") and rng.integers(4) else data


def folder(root: Path, rng: np.random.Generator) -> Path:
    """People in folders, some with names that mean harm, with pictures of which some are bad."""
    people = root / "people"
    for person in range(PEOPLE):
        name = word(rng).replace("/", "_").replace("\0", "_")[:60] if rng.integers(3) == 0 else f"p{person}"
        name = f"{name}{person}".encode(errors="replace")[:200].decode(errors="ignore")
        at = people / name
        at.mkdir(parents=True)
        (at / "a.png").write_bytes(picture(person))
        if rng.integers(2):
            (at / f"b{('.png', '.tif', '.jpg')[rng.integers(3)]}").write_bytes(bad_picture(rng))
    if rng.integers(2):
        (people / "p0x").mkdir()
        (people / "p0x" / "link.png").symlink_to(root / "secret.png")
    if rng.integers(4) == 0:
        (people / "p1x").symlink_to(root)
    return people


def manifest_csv(root: Path, rng: np.random.Generator) -> Path:
    """A CSV beside pictures; names, captions and further columns by chance, bytes wrong in some."""
    at = _beside(root)
    out = io.StringIO()
    further = [word(rng).replace("\0", "") for _ in range(rng.integers(3))]
    write = csv.writer(out, quoting=csv.QUOTE_ALL if rng.integers(2) else csv.QUOTE_MINIMAL, escapechar="\\").writerow
    write(["path", "identity", "caption", *(["split"] if rng.integers(4) == 0 else []), *further])
    for row in range(PEOPLE + int(rng.integers(4))):
        name = f"{row}.png" if row < PEOPLE else word(rng)
        write([name, word(rng) if rng.integers(8) == 0 else f"p{row % PEOPLE}", word(rng), *(word(rng) for _ in further)])
    data = out.getvalue().encode(errors="surrogatepass")
    (at / "m.csv").write_bytes(mutated(data, rng) if rng.integers(3) == 0 else data)
    return at / "m.csv"


def manifest_parquet(root: Path, rng: np.random.Generator) -> Path:
    """A Parquet manifest of any types, with pictures in it or beside it."""
    at = _beside(root)
    rows = PEOPLE + int(rng.integers(3))
    names = [f"{row}.png" if rng.integers(8) else word(rng) for row in range(rows)]
    data = [picture(row) if rng.integers(6) else bad_picture(rng) for row in range(rows)]
    columns: dict[str, pa.Array] = {
        "identity": _column(rng, rows) if rng.integers(5) == 0 else _text([f"p{i}" for i in range(rows)])
    }
    match rng.integers(4):
        case 0:
            columns["path"] = _text(names)
        case 1:
            columns["image"] = pa.array(data)
        case 2:
            structs = [{"bytes": d if rng.integers(6) else None, "path": n} for d, n in zip(data, names, strict=True)]
            columns["image"] = pa.array(structs, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
        case _:
            columns["image"] = _column(rng, rows)
    if rng.integers(2):
        columns["caption"] = _text([word(rng) for _ in range(rows)])
    for _ in range(rng.integers(4)):
        columns[word(rng) or "x"] = _column(rng, rows)
    _write(pa.table(columns), at / "m.parquet", rng)
    return at / "m.parquet"


def parquet(root: Path, rng: np.random.Generator) -> Path:
    """A Parquet file of synthetic images."""
    data = [picture(row) if rng.integers(3) else bad_picture(rng) for row in range(5)]
    column = pa.array(data) if rng.integers(2) else pa.array([{"bytes": each, "path": word(rng)} for each in data])
    table = pa.table({"image": _column(rng, 5) if rng.integers(6) == 0 else column, "note": _column(rng, 5)})
    at = root / "theirs"
    at.mkdir()
    _write(table, at / "s.parquet", rng)
    return at


def tar(root: Path, rng: np.random.Generator, rows: int = 5) -> Path:
    """A tar shard of so many images: names, sizes and kinds by chance."""
    at = root / "theirs"
    at.mkdir()
    out = io.BytesIO()
    kind = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)[rng.integers(3)]
    with tarfile.open(fileobj=out, mode="w", format=kind) as shard:
        for row in range(rows):
            name = word(rng) if rng.integers(3) == 0 else str(row)
            info = tarfile.TarInfo((name[:90] if kind == tarfile.USTAR_FORMAT else name) + ".png")
            data = picture(row) if rng.integers(3) else bad_picture(rng)
            info.size = len(data)
            if rng.integers(6) == 0:
                info.type, info.linkname, info.size = (tarfile.SYMTYPE, tarfile.LNKTYPE)[rng.integers(2)], "../secret.png", 0
            if kind == tarfile.PAX_FORMAT and rng.integers(4) == 0:
                number = str(NUMBERS[rng.integers(len(NUMBERS))])
                info.pax_headers = {("size", "path", "GNU.sparse.map", "mtime")[rng.integers(4)]: number}
            try:
                shard.addfile(info, io.BytesIO(data))
            except (ValueError, UnicodeError, OSError):
                continue  # the writer knows better
    data = out.getvalue()
    if rng.integers(3):
        data = mutated(data[:8192], rng) + data[8192:]
        data = sound_tar(data) if rng.integers(3) else data
    (at / "s.tar").write_bytes(data)
    return at


def json_lines(root: Path, rng: np.random.Generator) -> Path:
    """A manifest of JSON lines."""
    at = _beside(root)
    lines = []
    for row in range(PEOPLE):
        said: dict[str, object] = {"file_name": f"{row}.png", "identity": f"p{row}", word(rng): word(rng)}
        if rng.integers(3) == 0:
            said |= {"file_name": word(rng), "identity": [word(rng), 7, None, 1.5, True, [1], {}][rng.integers(7)]}
        if rng.integers(3) == 0:
            said["more"] = [NUMBERS[rng.integers(len(NUMBERS))], float("nan"), [word(rng)], {"a": {}}][rng.integers(4)]
        lines.append(json.dumps(said, ensure_ascii=bool(rng.integers(2))))
    data = "\n".join(lines).encode(errors="surrogatepass")
    (at / "m.jsonl").write_bytes(mutated(data, rng) if rng.integers(2) else data)
    return at / "m.jsonl"


def dicom(root: Path, rng: np.random.Generator) -> Path:
    """A folder of DICOM files: sound ones, and pydicom's own and made ones with a change."""
    at = root / "set"
    at.mkdir()
    for row in range(PEOPLE - 1):
        (at / f"{row}.dcm").write_bytes(_sound_dicom(row))
    names = _dicom_names()
    data = (_sound_dicom(99) if rng.integers(3) == 0 else names[rng.integers(len(names))].read_bytes())[: 1 << 20]
    cut = int(rng.integers(512, 4096))  # the header, where most goes wrong, or the pixels
    changed = mutated(data[:cut], rng) + data[cut:] if rng.integers(3) else data[:cut] + mutated(data[cut:], rng)
    (at / "hostile.dcm").write_bytes(changed)
    (at / "link.dcm").symlink_to(root / "secret.png")
    return at


@lru_cache(maxsize=64)
def _sound_dicom(row: int) -> bytes:
    from dicom_makers import encoded, made

    return encoded(made(np.random.default_rng(row).integers(0, 4096, (16, 16)), PatientID=f"p{row}"))


@lru_cache(maxsize=1)
def _dicom_names() -> list[Path]:
    import pydicom.data

    folder = Path(pydicom.data.__file__).parent / "test_files"
    return sorted(path for path in folder.glob("*.dcm") if path.stat().st_size < 1 << 18)


def _beside(root: Path) -> Path:
    at = root / "set"
    at.mkdir()
    for row in range(PEOPLE):
        (at / f"{row}.png").write_bytes(picture(row))
    (at / "link.png").symlink_to(root / "secret.png")
    return at


def _text(values: list[str]) -> pa.Array:
    return pa.array(values, pa.string())


def _column(rng: np.random.Generator, rows: int) -> pa.Array:
    """A column of some type that Parquet can hold."""
    number = NUMBERS[rng.integers(len(NUMBERS))]
    match rng.integers(12):
        case 0:
            return pa.array([number % 2**31] * rows)
        case 1:
            return pa.array([float(number), *[float("nan")] * (rows - 1)])
        case 2:
            return pa.array([[word(rng)]] * rows)
        case 3:
            return pa.array([{"bytes": {"bytes": {"bytes": word(rng)}}}] * rows)
        case 4:
            return pa.array([number % 2**62] * rows, pa.timestamp("ns", tz="Nowhere/At_all"))
        case 5:
            return pa.array([[("a", 1)]] * rows, pa.map_(pa.string(), pa.int64()))
        case 6:
            return pa.nulls(rows)
        case 7:
            # text that is not UTF-8, which Parquet does not look at
            return pa.StringArray.from_buffers(
                rows, pa.py_buffer(np.arange(rows + 1, dtype=np.int32).tobytes()), pa.py_buffer(b"\xff" * rows)
            )
        case 8:
            return pa.array([word(rng) for _ in range(rows)]).dictionary_encode()
        case 9:
            return pa.array([number % 2**31] * rows, pa.duration("us"))
        case 10:
            return pa.array([{"bytes": number % 2**31, "path": 7}] * rows)
        case _:
            return pa.array([word(rng) for _ in range(rows)])


def _write(table: pa.Table, path: Path, rng: np.random.Generator) -> None:
    pq.write_table(table, path, row_group_size=int(rng.integers(1, 9)), compression=("zstd", "none", "snappy")[rng.integers(3)])
    if rng.integers(2):
        path.write_bytes(mutated(path.read_bytes(), rng))
