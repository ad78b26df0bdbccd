"""Does a run keep its memory when the pictures become many: 224 x 224 RGB, thousands of people, two cores?

    python benchmarks/hospital.py                              # 10,000 pictures of 2,500 people, and 20,000 of 5,000: hours
    python benchmarks/hospital.py --images 1000 2000           # the same, smaller; 4 pictures a person
    python benchmarks/hospital.py --last                       # print the stored figures without running

Pictures are made by id from real faces: two faces are mixed to a person, and each picture of the person is moved, turned,
toned and mirrored.
Every stage of `pd run` is on, with networks that are as small as they get, for this is about memory; the autoencoder, too,
has a few channels and random weights: the bundled one takes a second and more a picture of this size on a CPU. Then
`pd verify`.
Both sizes differ in nothing but the number of pictures and people. The larger run is killed (SIGKILL) once in each of three
stages and the same command resumes.

Resident memory is looked at four times a second: of the driver (`pd run` and `pd verify`), and of the largest process that Ray
started below it. A growth is the peak of the larger run by that of the smaller.
"""

import argparse
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from harness import print_last, random_model, store
from PIL import Image
from rich.console import Console
from rich.table import Table

SIDE, EACH = 224, 4
KILLED = ("reid", "generate", "audit")
PD = [str(Path(sys.executable).with_name("pd"))]
SETTINGS = {
    "reid": {"steps": 4, "dim": 32, "identities_per_batch": 4, "images_per_identity": 2},
    "teacher": {"steps": 4, "batch": 4, "warmup": 1, "checkpoint_every": 2},
    "generate": {"candidates": 48, "sampler_steps": 2, "shard_size": 16, "batch": 8},
    "filter": {"reid": False, "near_copy": False, "families": []},  # such models make noise, and some of it must be kept
    "student": {"steps": 4, "batch": 4, "warmup": 1, "checkpoint_every": 2},
    "audit": {"arms": ["teacher", "random_drop", "kept", "filtered"], "samples": 48, "attacker_steps": 10, "bootstrap": 100}
    | {"utility_steps": 20, "planted": 40},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument(
        "--images", type=int, nargs=2, default=[10_000, 20_000], help="pictures of the smaller and the larger run"
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/lfw.parquet"), help="Parquet with a column `image`")
    parser.add_argument("--keep", type=Path, help="a folder for the runs, which then stay")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("hospital")
        return
    home = arguments.keep or Path(tempfile.mkdtemp(prefix="pdh-"))
    found = []
    for at, images in enumerate(sorted(arguments.images)):
        found.append(one_run(home / str(images), images, faces(arguments.data), kill=KILLED if at else ()))
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    small, large = found
    figures = large | {
        "driver_growth": round(large["driver_peak_mib"] / small["driver_peak_mib"], 3),
        "worker_growth": round(large["worker_peak_mib"] / small["worker_peak_mib"], 3),
        "smaller": small,
    }
    table = Table(title="memory, MiB")
    for heading in ("pictures", "people", "driver", "largest worker"):
        table.add_column(heading, justify="right")
    for one in found:
        peaks = (f"{one[name]:.0f}" for name in ("driver_peak_mib", "worker_peak_mib"))
        table.add_row(f"{one['images']:,}", f"{one['people']:,}", *peaks)
    Console(width=80, stderr=True).print(table)
    if not arguments.keep:
        shutil.rmtree(home, ignore_errors=True)
    store("hospital", figures)


def one_run(home: Path, images: int, bases: list[Image.Image], kill: tuple[str, ...]) -> dict[str, Any]:
    """A whole run and its proof, in processes of their own."""
    home.mkdir(parents=True, exist_ok=True)
    manifest = home / "pictures.parquet"
    if not manifest.exists():
        write_pictures(manifest, images, bases)
    base = {"base": str(random_model(home / "base", "tiny", SIDE, 8)), "autoencoder": "base"}
    tree = SETTINGS | {part: SETTINGS[part] | base for part in ("teacher", "student")}
    config = home / "run.yaml"
    data = {"reader": "manifest", "path": str(manifest), "size": SIDE, "mode": "rgb"}
    config.write_text(json.dumps({"name": "hospital", "runs": str(home / "runs"), "data": data, **tree}), encoding="utf-8")
    run, watch = home / "runs" / "hospital", Watch()
    killed = []
    for stage in kill:
        if in_stage(run, stage, watch, config):
            killed.append(stage)
    with watch.over([*PD, "run", str(config)], run) as process:
        if process.wait():
            sys.exit(f"pd run ended with {process.returncode}; see {home}")
    with watch.over([*PD, "verify", str(run / "release"), "--against", str(run)]) as process:
        if process.wait():
            sys.exit(f"pd verify ended with {process.returncode}; see {home}")
    records = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in (run / "private" / ".stages").glob("*.json")}
    return {
        "images": images,
        "people": -(-images // EACH),
        "side": SIDE,
        "driver_peak_mib": round(watch.driver / 2**20),
        "worker_peak_mib": round(watch.worker / 2**20),
        "driver_peak_by_stage": watch.driver_by_stage(),
        "seconds_by_stage": {stage: round(record["seconds"], 1) for stage, record in records.items()},
        "killed_and_resumed": killed,
    }


def in_stage(run: Path, stage: str, watch: "Watch", config: Path) -> bool:
    """Run until a stage is at work, and kill the driver; whether it died in that stage."""
    with watch.over([*PD, "run", str(config)], run) as process:
        while process.poll() is None and watch.stage != stage:
            time.sleep(0.1)
        begun = time.monotonic()
        while process.poll() is None and watch.stage == stage and time.monotonic() - begun < 5:
            time.sleep(0.1)
        died_in = process.poll() is None and watch.stage == stage
        family = psutil.Process(process.pid).children(recursive=True) if died_in else []
        if died_in:
            process.send_signal(signal.SIGKILL)
        process.wait()
        psutil.wait_procs(family, timeout=120)
    return died_in


class Watch:
    """Peaks of resident memory of commands and of what Ray starts below them.

    Attributes:
        driver, worker: bytes, the largest so far.
        stage: at which the run is.
    """

    def __init__(self) -> None:
        self.driver = self.worker = 0
        self.stage = ""
        self._by_stage: dict[str, int] = {}
        self._run: Path | None = None

    def over(self, command: list[str], run: Path | None = None) -> "Watched":
        """Start a command and watch it until the context ends."""
        self._run = run or self._run
        return Watched(self, command)

    def look(self, process: psutil.Process) -> None:
        self.stage = self._at_work() if self._run else ""
        own = process.memory_info().rss
        self.driver = max(self.driver, own)
        self._by_stage[self.stage or "between stages"] = max(self._by_stage.get(self.stage or "between stages", 0), own)
        for child in process.children(recursive=True):
            try:
                if child.name().startswith("ray::") or "default_worker" in " ".join(child.cmdline()):
                    self.worker = max(self.worker, child.memory_info().rss)
            except psutil.Error:
                continue

    def driver_by_stage(self) -> dict[str, int]:
        """MiB."""
        return {stage: round(peak / 2**20) for stage, peak in self._by_stage.items()}

    def _at_work(self) -> str:
        """The last stage that the run's events tell to have begun and not to have ended, or nothing."""
        assert self._run
        try:
            lines = (self._run / "work" / "events.jsonl").read_text(encoding="utf-8").splitlines()
        except OSError:
            return ""
        for line in reversed(lines):
            told = json.loads(line) if line.endswith("}") else {}
            if str(told.get("event", "")).startswith("stage "):
                return str(told["stage"]) if told["event"] == "stage started" else ""
        return ""


class Watched:
    """A command under watch."""

    def __init__(self, watch: Watch, command: list[str]) -> None:
        self._watch, self._command, self._over = watch, command, threading.Event()

    def __enter__(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(self._command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self._process

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._process.poll() is None:
            self._process.kill()

    def _look(self) -> None:
        while not self._over.wait(0.25):
            try:
                self._watch.look(psutil.Process(self._process.pid))
            except psutil.Error:
                continue  # it has just ended


def faces(data: Path) -> list[Image.Image]:
    """Real faces to mix: those of a Parquet file, else the embedded ones."""
    if data.exists():
        column = pq.read_table(data, columns=["image"])["image"]
        return [Image.open(io.BytesIO(column[row]["bytes"].as_py())).convert("RGB") for row in range(0, len(column), 4)]
    from pd.dataset.readers.faces import faces as embedded

    return [Image.open(row.data).convert("RGB") for row in list(embedded().rows())[::4]]


def write_pictures(out: Path, images: int, bases: list[Image.Image]) -> None:
    """A manifest of so many pictures, EACH of a person; a picture is a function of its number."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", kind), ("identity", pa.string()), ("caption", pa.string())])
    with pq.ParquetWriter(out, schema) as writer:
        for start in range(0, images, 256):
            rows = range(start, min(start + 256, images))
            made = [{"bytes": picture(row, bases), "path": None} for row in rows]
            people = [f"p{row // EACH:05d}" for row in rows]
            words = ["a photo of a face" if row // EACH % 2 else "a photo of a face, smiling" for row in rows]
            writer.write_table(pa.table([pa.array(made, kind), people, words], schema=schema))


def picture(row: int, bases: list[Image.Image]) -> bytes:
    """A JPEG of 224 x 224: the person's mix of two faces, moved, turned, toned and mirrored as the row's number says."""
    whose, chance = np.random.default_rng([1, row // EACH]), np.random.default_rng([2, row])
    one, two = (bases[at].resize((SIDE, SIDE), Image.Resampling.BICUBIC) for at in whose.choice(len(bases), 2, replace=False))
    mixed = Image.blend(one, two, float(whose.uniform(0.2, 0.5)))
    angle, right, down = chance.uniform(-8, 8), chance.uniform(-8, 8), chance.uniform(-8, 8)
    moved = mixed.rotate(angle, Image.Resampling.BILINEAR, translate=(right, down), fillcolor=(96, 96, 96))
    toned = np.asarray(moved, np.float32) * chance.uniform(0.8, 1.2) + chance.uniform(-15, 15)
    pixels = np.clip(toned[:, ::-1] if chance.random() < 0.5 else toned, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


if __name__ == "__main__":
    main()
