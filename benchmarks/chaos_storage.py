"""Faults of storage: disks that fill, shards that rot, folders half written, and an S3 that errs or dawdles."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import ray
from bucket import BUCKET, s3_server
from chaos_stream import Result, judged, run, undisturbed
from faulty_proxy import faulty_proxy
from PIL import Image
from stream_world import SETTINGS, SIZE, make, table_of

from pd.config import DataSettings
from pd.dataset.external import list_images
from pd.engine.stream.candidates import score_images
from pd.errors import UserError
from pd.progress import silent
from pd.store.files import digest_folder
from pd.store.places import Place

IMAGES = 40


@contextlib.contextmanager
def _ray() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR", object_store_memory=2**27)
    try:
        yield
    finally:
        ray.shutdown()


def disk_full(root: Path) -> Result:
    """The disk holds three shards of six, then is made larger. A small tmpfs, which root may mount."""
    world, expected = undisturbed(root)
    disk = root / "disk"
    disk.mkdir()
    size = sum(path.stat().st_size for path in (root / "expected").glob("*.parquet"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size // 2},mode=700", "none", str(disk)], check=True)
    try:
        with _ray():
            plain, _ = run(lambda: make(world, root / "plain", workers=2))
            begin, ended = time.monotonic(), "finished"
            try:
                make(world, disk / "out", workers=2)
            except UserError as error:
                ended = f"error ({error.what}), then finished"
            assert "No space" in ended, ended
            half = len(list((disk / "out").glob("*.parquet")))
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            make(world, disk / "out", workers=2)
            assert half < len(expected)
        return judged(disk / "out", expected, ended, 1, time.monotonic() - begin, plain)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def shards_damaged(root: Path) -> Result:
    """One shard with a flipped bit, one cut short, one gone, one empty, and a mark that is no JSON; then the same command."""
    world, expected = undisturbed(root)
    with _ray():
        make(world, root / "out", workers=2)
        shards = sorted((root / "out").glob("*.parquet"))
        data = bytearray(shards[0].read_bytes())
        data[len(data) // 2] ^= 1
        shards[0].write_bytes(data)
        shards[1].write_bytes(shards[1].read_bytes()[:-100])
        shards[2].unlink()
        shards[3].write_bytes(b"")
        (root / "out" / ".done" / f"{shards[4].stem}.json").write_text("{")
        seconds, ended = run(lambda: make(world, root / "out", workers=2))
    return judged(root / "out", expected, ended, 5, seconds, 0.0)


def stage_half_written(root: Path) -> Result:
    """`pd ingest` killed with SIGKILL again and again, at ever later moments; what is left of it must not count."""
    people = root / "people"
    chance = np.random.default_rng(0)
    for person in range(20):
        (people / f"p{person:02d}").mkdir(parents=True)
        for photo in range(20):
            pixels = chance.integers(0, 256, (96, 96, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(people / f"p{person:02d}" / f"{photo}.png")

    def ingest(name: str, kill_after: float | None) -> float:
        begin = time.monotonic()
        (root / "pd.yaml").write_text(f"name: {name}\nruns: {root}\ndata: {{reader: folder, path: {people}}}\n")
        process = subprocess.Popen([sys.executable, "-m", "pd.cli", "ingest", str(root / "pd.yaml")], stderr=subprocess.DEVNULL)
        if kill_after is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(kill_after)
            process.kill()
        assert process.wait(120) == 0 or kill_after is not None
        return time.monotonic() - begin

    plain = ingest("whole", None)
    expected, kills, begin = digest_folder(root / "whole" / "private" / "dataset"), 6, time.monotonic()
    for kill in range(kills):
        ingest("cut", plain * (kill + 3) / (kills + 3))
    ingest("cut", None)
    found = root / "cut" / "private"
    ids = table_of(found / "dataset")["id"].to_pylist()
    left = [path for path in found.rglob("*") if "partial" in path.name or path.name.endswith(".old")]
    same = digest_folder(found / "dataset") == expected and not left
    return {
        "faults": kills,
        "survived": kills if same else 0,
        "rows_lost": 400 - len(set(ids)),
        "rows_doubled": len(ids) - len(set(ids)),
        "time_lost": round(time.monotonic() - begin - plain, 1),
        "ended": f"{kills} x exit -9, then finished" if same else f"WRONG: {left}",
    }


def s3_errs(root: Path) -> Result:
    """Every third request is answered 503 SlowDown, every seventh 500, and every eleventh body is cut."""

    def fault(number: int) -> str:
        return "503" if number % 3 == 0 else "500" if number % 7 == 0 else "cut" if number % 11 == 0 else ""

    return _over_s3(root, fault)


def s3_slow(root: Path) -> Result:
    """Every request takes half a second more, every tenth three."""
    return _over_s3(root, lambda number: "wait 3" if number % 10 == 0 else "wait 0.5")


def s3_gone_and_back(root: Path) -> Result:
    """After 30 requests none is answered any more, for 40 seconds: one error, and the same command finishes."""
    since: list[float] = []

    def fault(number: int) -> str:
        if number == 30:
            since.append(time.monotonic())
        return "500" if since and time.monotonic() - since[0] < 40 else ""

    return _over_s3(root, fault, retry_after=40)


def _over_s3(root: Path, fault: Callable[[int], str], retry_after: float = 0.0) -> Result:
    world, _ = undisturbed(root)
    source = root / "theirs"
    source.mkdir()
    for at in range(IMAGES):
        pixels = np.random.default_rng(at).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
        Image.fromarray(pixels).save(source / f"{at:02d}.png")
    with s3_server() as server, faulty_proxy(server.url, lambda number, _: fault(number)) as (url, struck):
        server.upload(source)
        os.environ.update({**server.environment, "AWS_ENDPOINT_URL": server.url})

        def score(out: str) -> None:
            place = Place.parse(f"s3://{BUCKET}/theirs")
            score_images(
                source=place,
                images=list_images(place),
                reid=world.reid,
                gallery=world.reid,
                data=DataSettings(size=SIZE),
                settings=SETTINGS,
                out=root / out,
                address=None,
                progress=silent,
            )

        with _ray():
            plain, _ = run(lambda: score("plain"))
        os.environ["AWS_ENDPOINT_URL"] = url
        ended, begin = "finished", time.monotonic()
        with _ray():  # workers take the address from the environment that they start in
            for attempt in range(4):
                try:
                    score("out")
                    break
                except UserError as error:
                    ended = f"error x {attempt + 1} ({error.what[:40]}), then finished"
                    time.sleep(retry_after)
    ids = table_of(root / "out")["id"].to_pylist()
    same = table_of(root / "out").equals(table_of(root / "plain")) and len(ids) == IMAGES
    return {
        "faults": struck[0],
        "survived": struck[0] if same else 0,
        "rows_lost": IMAGES - len(set(ids)),
        "rows_doubled": len(ids) - len(set(ids)),
        "time_lost": round(time.monotonic() - begin - plain, 1),
        "ended": ended if same else f"WRONG after {ended}",
    }
