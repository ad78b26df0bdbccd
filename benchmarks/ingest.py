"""How fast private pictures come in, against a plain pool of the same decoders, and whether memory grows with their number.

    python benchmarks/ingest.py            # 1024 px PNG, and DICOM with JPEG inside
    python benchmarks/ingest.py --last     # print the stored figures

`vs_pool` is the pool's time over ingest's, the median of pairs taken in turn; the pool opens, resizes and encodes to PNG on all
cores, and checks nothing. Both have read some pictures before, so that neither counts its imports. `growth` is the driver's
peak memory with twice as many pictures over that with as many.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from harness import Peak, print_last, store
from PIL import Image
from rich.console import Console
from rich.table import Table

SIDE, SIZE, FIRST = 1024, 64, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--images", type=int, default=400, help="pictures of each kind")
    parser.add_argument("--pairs", type=int, default=3, help="of a pool's run and one of ingest")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("ingest")
        return
    if arguments.part:
        kind, *folders = arguments.part
        print(json.dumps(_ingested(kind, *map(Path, folders))))
        return
    figures = {}
    for kind in ("png", "dicom"):
        with tempfile.TemporaryDirectory() as folder:
            first, once, twice = (
                _made(kind, Path(folder, name), count)
                for name, count in (("first", FIRST), ("once", arguments.images), ("twice", 2 * arguments.images))
            )
            _pool(kind, first)
            pairs = [(_pool(kind, once), _part(kind, once, first)) for _ in range(arguments.pairs)]
            large = _part(kind, twice, first)
            figures[kind] = {
                "images_per_s": arguments.images / statistics.median(own["seconds"] for _, own in pairs),
                "vs_pool": statistics.median(pool / own["seconds"] for pool, own in pairs),
                "driver_peak_mib": pairs[0][1]["peak_mib"],
                "growth": large["peak_mib"] / pairs[0][1]["peak_mib"],
                "images": arguments.images,
                "load": os.getloadavg()[0],
            }
    table = Table(title=f"ingest of {SIDE} px pictures to {SIZE} px")
    for heading in ("", "images a second", "of a plain pool", "peak, MiB", "with twice as many"):
        table.add_column(heading)
    for kind, row in figures.items():
        table.add_row(kind, *(f"{row[key]:.2f}" for key in ("images_per_s", "vs_pool", "driver_peak_mib", "growth")))
    Console().print(table)
    store("ingest", figures)


def _made(kind: str, folder: Path, count: int) -> Path:
    """Pictures of soft noise, which compress as X-rays do, about; ten people at least."""
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        pixels = (np.asarray(coarse) // 2 + rng.integers(0, 16, (SIDE, SIDE))).astype(np.uint8)
        where = folder / f"p{number % 20}"
        where.mkdir(parents=True, exist_ok=True)
        if kind == "png":
            Image.fromarray(pixels).save(where / f"{number}.png")
        else:
            (where / f"{number}.dcm").write_bytes(_dicom(pixels, number % 20))
    return folder


def _dicom(pixels: np.ndarray, person: int) -> bytes:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "dataset"))
    from dicom_makers import compressed, encoded, made
    from pydicom.uid import JPEGBaseline8Bit

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=95)
    return encoded(compressed(made(pixels, bits=8, PatientID=f"p{person}"), [out.getvalue()], JPEGBaseline8Bit))


def _pool(kind: str, folder: Path) -> float:
    """Seconds that a pool of threads takes to decode, resize and encode all files."""

    def one(file: Path) -> int:
        if kind == "png":
            picture = Image.open(file)
        else:
            from pydicom import dcmread

            picture = Image.fromarray(dcmread(file).pixel_array)
        out = io.BytesIO()
        picture.convert("L").resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(out, "PNG")
        return out.tell()

    files = sorted(file for file in folder.rglob("*") if file.is_file())
    begin = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, files))
    return time.perf_counter() - begin


def _part(kind: str, folder: Path, first: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, __file__, "--part", kind, str(folder), str(first)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _ingested(kind: str, folder: Path, first: Path) -> dict[str, float]:
    """Seconds of an ingest, after one of `first`, and peak memory of its process."""
    from pd.config import DataSettings
    from pd.dataset.ingest import ingest

    settings = DataSettings(reader="folder" if kind == "png" else "dicom", path=folder, size=SIZE)
    with tempfile.TemporaryDirectory() as out:
        ingest(settings.model_copy(update={"path": first}), 7, Path(out))
    with tempfile.TemporaryDirectory() as out:
        begin = time.perf_counter()
        ingest(settings, 7, Path(out))
        seconds = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as out, Peak() as peak:  # looked at apart: looking takes the interpreter's time
        ingest(settings, 7, Path(out))
        time.sleep(0.6)
    return {"seconds": seconds, "peak_mib": peak.mib["driver_mib"]}


if __name__ == "__main__":
    main()
