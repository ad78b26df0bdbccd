"""The mapper with real functions: the same rows whoever makes them, after whatever crash."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import light_rows
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from light_rows import Inverted
from ray import cloudpickle
from stream_world import bytes_of, make_world

from pd.config import DataSettings
from pd.dataset import decoded_files
from pd.dataset.decoded_files import decoded_by
from pd.dataset.images import Pixels, encode_png, to_arrays
from pd.dataset.ingest import ingest
from pd.dataset.mapping import array_of, columns, map_here
from pd.dataset.parquet_images import ParquetImages
from pd.dataset.private import PrivateDataset
from pd.dataset.schema import IMAGE
from pd.diffusion.mapped import Losses, RoundTrips, Samples
from pd.engine import map_images
from pd.engine.map_images import Mapper, map_rows
from pd.engine.stream.make import Crew
from pd.errors import UserError
from pd.filters.families import taught_by_others
from pd.store.run import Run

ONE, TWO = Crew(1, 0.0, None, "audit"), Crew(2, 0.0, None, "audit")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Two Ray CPUs, and one thread here, as workers have."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    ray.shutdown()  # another file's tests may have left a cluster of their own to this process
    cloudpickle.register_pickle_by_value(light_rows)  # Ray's workers do not look for modules where pytest does
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2**27)
    yield
    ray.shutdown()
    cloudpickle.unregister_pickle_by_value(light_rows)
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    return make_world(tmp_path_factory.mktemp("world"))


def in_file(folder: Path, images: Pixels) -> ParquetImages:
    structs = [{"bytes": encode_png(image), "path": None} for image in images]
    pq.write_table(pa.table({"image": pa.array(structs, IMAGE)}), folder / "images.parquet", row_group_size=64)
    return ParquetImages.open([folder / "images.parquet"])


@pytest.fixture(scope="module")
def trips(world: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> RoundTrips:
    images = np.random.default_rng(0).integers(0, 256, (600, 16, 16, 1), dtype=np.uint8)
    return RoundTrips(world.teacher, in_file(tmp_path_factory.mktemp("images"), images), "grey")


@pytest.fixture(scope="module")
def light(trips: RoundTrips) -> Inverted:
    """As many rows, without a network to load, for what does not depend on it."""
    return Inverted(trips.images)


@pytest.fixture(scope="module")
def light_one(light: Inverted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one worker makes of them."""
    out = tmp_path_factory.mktemp("light") / "one"
    map_rows(light, out, crew=ONE)
    return out


@pytest.fixture(scope="module")
def one(trips: RoundTrips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one worker makes."""
    out = tmp_path_factory.mktemp("maps") / "one"
    map_rows(trips, out, crew=ONE)
    return out


def test_any_number_of_workers_makes_the_same_bytes(trips: RoundTrips, one: Path, tmp_path: Path) -> None:
    told: list[int] = []
    made = map_rows(trips, tmp_path / "two", crew=TWO, progress=lambda done, total, info: told.append(done))
    assert len(bytes_of(one)) == 3
    assert RoundTrips(trips.model, trips.images.take(np.arange(599, -1, -1)), "grey").key != trips.key
    assert bytes_of(tmp_path / "two") == bytes_of(one)
    assert told == sorted(told)
    assert told[-1] == 600
    assert np.array_equal(to_arrays(made["image"]), to_arrays(map_here(trips)["image"]))


def test_only_what_is_missing_damaged_or_of_other_inputs_is_made_again(
    light: Inverted, light_one: Path, tmp_path: Path
) -> None:
    out, told = tmp_path / "maps", list[int]()

    def made() -> int:
        told.clear()
        map_rows(light, out, crew=ONE, progress=lambda done, total, info: told.append(done))
        return 600 - told[0] if told else 0

    assert made() == 600
    assert made() == 0
    (out / "part-00001.parquet").unlink()
    assert made() == 256
    (out / "part-00002.parquet").write_bytes(b"cut short")
    (out / ".part-00000.parquet.aside").write_bytes(b"left by a crash")
    assert made() == 600 - 512
    assert bytes_of(out) == bytes_of(light_one)
    assert not list(out.glob(".part*"))
    other = Inverted(light.images.take(np.arange(599, -1, -1)))
    assert other.key != light.key
    again = map_rows(other, out, crew=ONE)
    assert np.array_equal(to_arrays(again["image"])[::-1], to_arrays(map_here(light)["image"]))


def command_of(process: psutil.Process) -> str:
    """Its command line; nothing of one that ended meanwhile."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def test_kill_9_of_a_worker_costs_its_shard(light: Inverted, light_one: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill(done: int, total: int, info: object) -> None:
        workers = [p for p in psutil.Process().children(recursive=True) if "MapWorker" in command_of(p)]
        if done and not killed and workers:
            killed.append(workers[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    map_rows(replace(light, seconds=0.2), tmp_path / "maps", crew=TWO, progress=kill)
    assert killed
    assert bytes_of(tmp_path / "maps") == bytes_of(light_one)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_kill_9_and_the_same_command(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (6000, 16, 16, 1), dtype=np.uint8)
    rows, out = Inverted(in_file(tmp_path, images)), tmp_path / "maps"
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from ray import cloudpickle
        from pd.dataset.parquet_images import ParquetImages
        from pd.engine.map_images import map_rows
        from pd.engine.stream.make import Crew

        images, out, tests = (Path(word) for word in sys.argv[1:])
        sys.path.append(str(tests))
        import light_rows

        cloudpickle.register_pickle_by_value(light_rows)
        rows = light_rows.Inverted(ParquetImages.open([images]), seconds=0.2)
        map_rows(rows, out, crew=Crew(2, 0.0, None, "audit"))
    """)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    words = [str(tmp_path / "images.parquet"), str(out), str(Path(__file__).parent)]
    driver = subprocess.Popen([sys.executable, "-c", script, *words], env=environment)
    try:
        deadline = time.monotonic() + 500
        while len(list(out.glob(".done/*.json"))) < 2:
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        family = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
        driver.kill()
        driver.wait()
    assert not psutil.wait_procs(family, timeout=120)[1]  # Ray's processes die with their driver
    finished = bytes_of(out)
    assert 2 <= len(finished) < 24
    times = {name: (out / name).stat().st_mtime_ns for name in finished if (out / ".done" / name).with_suffix(".json").exists()}
    found = map_rows(rows, out, crew=TWO)
    assert all((out / name).stat().st_mtime_ns == time for name, time in times.items())  # what was done is not made again
    assert np.array_equal(to_arrays(found["image"]), to_arrays(map_here(rows)["image"]))


def test_little_work_is_done_here_and_much_by_workers(
    trips: RoundTrips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapper = Mapper(tmp_path / "work", ONE, Run(tmp_path))
    here = mapper(trips, "trips")
    assert not (tmp_path / "work").exists()
    monkeypatch.setattr(map_images, "HERE_BYTES", trips.pixel_bytes - 1)
    there = mapper(trips, "trips")
    assert len(list((tmp_path / "work" / "trips").glob("*.parquet"))) == 3
    assert there.equals(here)
    mapper.done()
    assert not (tmp_path / "work").exists()


@pytest.mark.exhaustive
def test_samples_and_losses_are_those_of_this_process(world: SimpleNamespace, tmp_path: Path) -> None:
    samples = Samples(world.teacher, ["a face", "a face with glasses"] * 9, 3, "grey", 16, 2, 1.0, 4, "fp32")
    assert map_rows(samples, tmp_path / "samples", crew=TWO).equals(map_here(samples))
    members = world.members
    losses = Losses(world.teacher, members.images, members.ids, members.captions, 5)
    made, known = map_rows(losses, tmp_path / "losses", crew=TWO), map_here(losses)
    assert array_of(made, "loss").shape == (12, 8)
    assert np.array_equal(array_of(made, "loss"), array_of(known, "loss"))


def test_too_many_workers_are_refused_before_anything_is_touched(trips: RoundTrips, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1000 actors of") as refused:
        map_rows(trips, tmp_path / "maps", crew=Crew(1000, 0.0, None, "audit"))
    assert "audit.workers = 1000" in str(refused.value)
    assert not (tmp_path / "maps").exists()


def test_what_a_worker_refuses_ends_in_one_line(trips: RoundTrips, tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    with pytest.raises(UserError):
        map_rows(RoundTrips(tmp_path / "teacher", trips.images, "grey"), tmp_path / "maps", crew=ONE)
    assert not list((tmp_path / "maps").glob("part-*"))


def test_ingest_by_workers_writes_the_bytes_that_it_writes_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    for number in range(600):
        file = tmp_path / "people" / f"p{number % 20}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode_png(rng.integers(0, 256, (40, 40, 1), dtype=np.uint8)))
    (tmp_path / "people" / "p3" / "3.png").write_bytes(b"no image")
    settings = DataSettings(reader="folder", path=tmp_path / "people", on_bad_image="skip")
    here = ingest(settings, 7, tmp_path / "here")
    monkeypatch.setattr(decoded_files, "HERE_BYTES", 0)
    monkeypatch.setattr(map_images, "HERE_BYTES", 0)
    mapper = Mapper(tmp_path / "work", TWO, Run(tmp_path))
    decode = decoded_by(lambda function, name: mapper.tables(function, name, 256), "files")
    there = ingest(settings, 7, tmp_path / "there", decode=decode)
    assert len(list((tmp_path / "work" / "files-00000").glob("*.parquet"))) == 3
    assert there.facts() == here.facts()
    assert there.bad == here.bad
    assert len(here.bad) == 1
    assert bytes_of(tmp_path / "there") == bytes_of(tmp_path / "here")


def test_columns_come_back_as_they_went() -> None:
    arrays = {"flat": np.arange(5, dtype=np.float32), "rows": np.arange(15, dtype=np.float32).reshape(5, 3)}
    table = pa.concat_tables([columns(arrays), columns({name: values[:2] for name, values in arrays.items()})])
    for name, values in arrays.items():
        assert np.array_equal(array_of(table, name), np.concatenate([values, values[:2]]))
        assert np.array_equal(array_of(table.slice(3, 3), name), np.concatenate([values, values[:2]])[3:6])


def test_spaces_are_learned_and_compared_by_workers_as_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What strangers score in spaces that others taught them: the largest part of the filter's preparation."""
    monkeypatch.setattr(map_images, "HERE_BYTES", 0)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 1), dtype=np.uint8)
    names, splits = [f"p{row // 2:02d}" for row in range(32)], ["member"] * 16 + ["holdout"] * 16
    real = PrivateDataset([f"i{row}" for row in range(32)], pixels, names, splits, ["a face"] * 32, {})
    people, members = real.holdout_half("calibration", 7), real.members()
    here = taught_by_others(["whitened"], people, members, 7)["whitened"]
    one, two = (
        taught_by_others(["whitened"], people, members, 7, Mapper(tmp_path / name, crew, None))["whitened"]
        for name, crew in (("one", ONE), ("two", TWO))
    )
    np.testing.assert_array_equal(one, two)
    np.testing.assert_allclose(two, here, atol=1e-4)
    (lessons,) = (tmp_path / "two").glob("spaces-*")
    assert len(list(lessons.glob("*.parquet"))) == 2  # a half each: two workers learn side by side
