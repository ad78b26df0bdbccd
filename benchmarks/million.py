"""A million candidates through the whole stream, killed half-way and resumed: rows a second, memory, and the same bytes.

    python benchmarks/million.py                      # a million against 100,000 members; about an hour on two cores
    python benchmarks/million.py --images 20000 --members 2000
    python benchmarks/million.py --last               # print the stored figures without running

Candidates are pictures of the ORL faces, moved, mirrored, toned and made noisy as their id says, made by the workers as they
go: 32 x 32 pixels, embedded, compared with the members by both detectors, encoded and written as Parquet. The driver is
killed with SIGKILL when half of the shards are there, and the same command resumes. Then shards drawn by chance are made
once more by one worker without interruption, and compared byte by byte. At last all cached scores are filtered anew.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Peak, print_last, store
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pd.config import FilterSettings, GenerateSettings, digest_of, load_settings
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset
from pd.engine.stream.shards import MARKS, Shard, plan, write_shard
from pd.engine.stream.work import Stopwatch, done_row, use_device
from pd.filters.apply import apply_filter
from pd.filters.decide import Thresholds
from pd.filters.gallery import build_gallery
from pd.filters.scorer import Scorer, scorer_digest
from pd.filters.table import scored_table
from pd.progress import silent
from pd.reid.network import save
from pd.reid.train import train
from pd.seeds import derive

ROOT = Path(__file__).parent.parent
SEED = 7
PICTURES, REID, MADE = "pictures.npy", "reid", "made"

Pixels = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--members", type=int, default=100_000)
    parser.add_argument("--check", type=float, default=0.02, help="share of the shards made once more for comparison")
    parser.add_argument("--work", type=Path, help="a folder to work in, kept; a new one otherwise")
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("million")
    elif arguments.part:
        print(json.dumps(_stream(arguments.work, arguments.images)))
    elif arguments.work:
        arguments.work.mkdir(parents=True, exist_ok=True)
        _whole(arguments, arguments.work)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            _whole(arguments, Path(scratch))


def jittered(pictures: Pixels, ids: range, seed: int) -> Pixels:
    """A picture for each id, (n, H, W, C): drawn, moved by up to 3 pixels, mirrored, toned and made noisy by (seed, id)."""
    side = pictures.shape[1]
    made = np.empty((len(ids), *pictures.shape[1:]), np.uint8)
    for at, sample in enumerate(ids):
        chance = np.random.Generator(np.random.Philox(key=[seed, sample]))
        which, down, right, turned = chance.integers((len(pictures), 7, 7, 2))
        around = np.pad(pictures[which], ((3, 3), (3, 3), (0, 0)), mode="edge")
        picture = around[down : down + side, right : right + side].astype(np.float32)
        tone, light = chance.uniform(0.8, 1.2), chance.uniform(-20, 20)
        noisy = ((picture - 128) * tone + 128 + light + chance.normal(0, 4, picture.shape)).clip(0, 255)
        made[at] = noisy[:, ::-1] if turned else noisy
    return made


class Jitterer:
    """A worker of the stream that jitters instead of sampling; everything after that is what candidates go through."""

    def __init__(self, pictures: Path, reid: Path, gallery: Path, settings: GenerateSettings, out: Path, inputs: str) -> None:
        self.pictures, self.scorer = np.load(pictures), Scorer(reid, gallery, use_device(settings.gpus_per_worker))
        self.batch, self.out, self.inputs = settings.batch, out, inputs

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        shard, watch = Shard.of(row), Stopwatch()
        table = pa.concat_tables([self._make(ids, watch) for ids in shard.micro_batches(self.batch)])
        return done_row(write_shard(self.out, shard, table, self.inputs, watch.seconds), {})

    def _make(self, ids: range, watch: Stopwatch) -> pa.Table:
        with watch.phase("jitter"):
            images = jittered(self.pictures, ids, SEED)
        with watch.phase("score"):
            scores = self.scorer.score(images)
        with watch.phase("encode"):
            return scored_table([f"{sample:09d}" for sample in ids], images, scores, seed=SEED)


def _whole(arguments: argparse.Namespace, work: Path) -> None:
    total, made = arguments.images, work / MADE
    gallery_s = _prepare(work, arguments.members)
    shards = _shards(total)
    shutil.rmtree(made, ignore_errors=True)
    killed_s = _run(work, total, kill_at=len(shards) // 2)[0]
    finished = {mark: mark.stat().st_mtime_ns for mark in (made / MARKS).iterdir()}
    resumed_s, facts, peak = _run(work, total)
    redone = sum(mark.stat().st_mtime_ns != before for mark, before in finished.items())
    ids = [name for file in sorted(made.glob("*.parquet")) for name in pq.read_table(file, columns=["id"])["id"].to_pylist()]
    compared, different = _compare(work, shards, arguments.check)
    refilter_s, counts = _refilter(work)
    growth = {name: peak.mib[name] / size - 1 for name, size in peak.first_half.items() if size}
    figures = {
        "images": total,
        "members": arguments.members,
        "rows_per_s": round(facts["made"] / resumed_s, 1),
        "seconds": {"gallery": round(gallery_s), "until_killed": round(killed_s), "resumed": round(resumed_s)},
        "worker_seconds": facts["seconds"],
        "rows_right": ids == [f"{sample:09d}" for sample in range(total)],
        "shards": {"all": len(shards), "finished_when_killed": len(finished), "of_these_made_again": redone},
        "shards_compared": compared,
        "shards_different": different,
        "peak_mib": {name: round(size) for name, size in peak.mib.items()},
        "rss_growth_in_second_half": {name: round(share, 3) for name, share in growth.items()},
        "refilter_s": round(refilter_s, 1),
        "refiltered": counts,
    }
    table = Table("", "", title=f"{total:,} candidates against {arguments.members:,} members")
    for name, value in figures.items():
        table.add_row(name, json.dumps(value))
    Console(width=120).print(table)
    store("million", figures)


def _prepare(work: Path, members: int) -> float:
    """Pictures, a network trained on them for a short while, and a gallery of so many jittered ones; seconds it took."""
    begin = time.perf_counter()
    settings = load_settings(ROOT / "configs" / "faces.yaml", [])
    with tempfile.TemporaryDirectory() as scratch:
        ingest(settings.data, derive(SEED, "split"), Path(scratch))
        faces = PrivateDataset.read(Path(scratch))
    np.save(work / PICTURES, faces.images)
    network = train(faces.images, faces.identities, settings.reid.model_copy(update={"steps": 100}), SEED)
    save(network, work / REID)
    # Everybody's pictures under another seed than the candidates': like them, and none the same.
    images = jittered(faces.images, range(members), SEED + 1)
    names = [f"m{k:06d}" for k in range(members)]
    build_gallery([network], PrivateDataset(names, images, names, ["member"] * members, [""] * members, {}), work / REID)
    return time.perf_counter() - begin


def _settings(total: int) -> GenerateSettings:
    return GenerateSettings(candidates=total, shard_size=1024, batch=1024)


def _shards(total: int) -> list[Shard]:
    settings = _settings(total)
    return plan(total, settings.shard_size, settings.batch)


def _stream(work: Path, total: int) -> dict[str, Any]:
    """What the child process does: make what is missing."""
    from pd.engine.stream.candidates import make_shards

    reid = work / REID
    return make_shards(
        Jitterer,
        {"pictures": (work / PICTURES).absolute()},
        _shards(total),
        asdict,
        reid=reid,
        gallery=reid,
        settings=_settings(total),
        out=work / MADE,
        inputs=digest_of([scorer_digest(reid, reid), SEED]),
        address=None,
        progress=silent,
    )


def _run(work: Path, total: int, kill_at: int | None = None) -> tuple[float, dict[str, Any], Peak]:
    """Stream in a child process, and kill it with SIGKILL when so many shards are finished."""
    begin = time.perf_counter()
    command = [sys.executable, __file__, "--part", "--work", str(work), "--images", str(total)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child, Peak(child.pid) as peak:
        while kill_at and child.poll() is None:
            time.sleep(0.5)
            if len(list((work / MADE / MARKS).glob("*.json"))) >= kill_at:
                family = psutil.Process(child.pid).children(recursive=True)
                child.kill()  # SIGKILL
                seconds = time.perf_counter() - begin
                psutil.wait_procs(family, timeout=120)  # Ray's processes die with their driver
                return seconds, {}, peak
        said, _ = child.communicate()
    if child.returncode:
        sys.exit(f"the stream ended with {child.returncode}")
    return time.perf_counter() - begin, json.loads(said.splitlines()[-1]), peak


def _compare(work: Path, shards: list[Shard], share: float) -> tuple[int, int]:
    """Make some shards anew in this process; how many, and how many of them differ in a byte."""
    reid, again = work / REID, work / "again"
    shutil.rmtree(again, ignore_errors=True)
    (again / MARKS).mkdir(parents=True)
    worker = Jitterer(work / PICTURES, reid, reid, _settings(shards[-1].stop), again, inputs="")
    count = max(1, round(share * len(shards)))
    drawn = sorted(np.random.default_rng(SEED).permutation(len(shards))[:count])
    for index in drawn:
        worker(asdict(shards[index]))
    names = [f"{shards[index].name}.parquet" for index in drawn]
    return count, sum((again / name).read_bytes() != (work / MADE / name).read_bytes() for name in names)


def _refilter(work: Path) -> tuple[float, dict[str, Any]]:
    """Seconds to decide anew on all cached rows, and the counts."""
    begin = time.perf_counter()
    out = work / "decided"
    limits = Thresholds(reid=0.99, near_copy=0.9)
    counts = apply_filter(work / MADE, out, limits, FilterSettings(), prompts=None, kept=work / "kept", progress=silent)
    return time.perf_counter() - begin, counts


if __name__ == "__main__":
    main()
