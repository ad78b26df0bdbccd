"""The stream with real parts of random weights: the same rows whatever the workers, the crashes and the damage."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections import Counter
from functools import partial
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import ray
from bucket import BUCKET, s3_server
from PIL import Image
from refusals import refused_as
from stream_world import SEED, SETTINGS, SIZE, bytes_of, logging_preview, make, make_world, table_of, written

from pd.config import DataSettings, FilterSettings
from pd.dataset.external import list_images
from pd.dataset.images import to_arrays
from pd.diffusion.sampler import Sampler
from pd.engine.stream.candidates import generate, score_images
from pd.engine.stream.shards import Shard, plan
from pd.filters.apply import apply_filter
from pd.filters.decide import Thresholds, preview
from pd.filters.scorer import Scorer
from pd.filters.top_up import BlockPrompts
from pd.progress import silent
from pd.seeds import derive
from pd.store.places import Place

METRICS = {"metrics_report_interval_ms": 500}


@pytest.fixture(scope="module", autouse=True)
def bucket():
    """An S3 server, which the environment of the cluster names."""
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="module", autouse=True)
def cluster(bucket):
    """Four Ray CPUs, whatever the machine has, and workers that report their metrics soon."""
    ray.shutdown()  # another file's tests may have left a cluster of their own to this process
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=2**27, _system_config=METRICS)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def one(world, tmp_path_factory):
    """What one worker makes without interruption."""
    out = tmp_path_factory.mktemp("one") / "generated"
    seen = []
    settings, thresholds = FilterSettings(), Thresholds(reid=0.99, near_copy=-1.0)
    facts = make(
        world,
        out,
        workers=1,
        progress=lambda done, total, info: seen.append((done, total, info)),
        preview=partial(preview, settings=settings, thresholds=thresholds),
    )
    return SimpleNamespace(out=out, facts=facts, seen=seen)


def test_rows_are_what_the_seed_and_the_id_say(world, one):
    table = table_of(one.out)
    assert table["id"].to_pylist() == [f"{i:09d}" for i in range(44)]
    assert set(table["seed"].to_pylist()) == {SEED}
    asked = [world.prompts.prompt_of(i, SEED) for i in range(44)]
    assert table["prompt"].to_pylist() == [world.prompts.texts[at] for at in asked]
    assert table["label.glasses"].to_pylist() == [float(at) for at in asked]
    sampler = Sampler(world.teacher, mode="grey", batch=SETTINGS.batch)
    images = sampler.sample(range(44), table["prompt"].to_pylist(), derive(SEED, "noise"), 2, 1.0)
    difference = np.abs(to_arrays(table["image"]).astype(int) - images)
    assert difference.max() <= 1  # threads may differ between this process and an actor
    scores = Scorer(world.reid, world.reid).score(to_arrays(table["image"]))
    np.testing.assert_allclose(table["score"].to_numpy(), scores.score, atol=1e-5)
    np.testing.assert_allclose(table["near_copy"].to_numpy(), scores.near_copy, atol=1e-5)
    assert table["nearest"].to_pylist() == scores.nearest
    assert len(set(table["pixels_sha"].to_pylist())) == 44


def test_facts_and_progress(one):
    assert one.facts["candidates"] == one.facts["made"] == 44
    assert set(one.facts["seconds"]) == {"sample", "score", "encode", "write"}
    assert sorted(done for done, _, _ in one.seen) == [*range(0, 44, 8), 44]
    assert {total for _, total, _ in one.seen} == {44}
    last = one.seen[-1][2]
    seconds = one.facts["seconds"]
    assert one.facts["bottleneck"] == last["bottleneck"]
    assert last["bottleneck"].split()[0] == max(seconds, key=seconds.get)
    assert last["kept"] == "0%"
    reid = np.mean(table_of(one.out)["score"].to_numpy() >= np.float32(0.99))
    assert last.get("near_copy", "0%") == f"{1 - reid:.0%}"


@pytest.mark.usefixtures("one")
def test_metrics_arrive_where_prometheus_looks():
    (node,) = ray.nodes()
    seconds = "ray_pd_stream_phase_seconds_total"
    found, deadline = {}, time.monotonic() + 60
    while seconds not in found:  # the endpoint is a process of its own
        assert time.monotonic() < deadline
        with contextlib.suppress(OSError):
            place = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
            text = urllib.request.urlopen(place, timeout=10).read().decode()
            found = {line.split("{")[0]: line for line in text.splitlines() if "pd_stream" in line}
            phases = set(re.findall(rf'^{seconds}{{.*phase="(\w+)".*}}', text, re.MULTILINE))
        time.sleep(0.2)
    assert phases == {"sample", "score", "encode", "write"}
    values = {name: float(found[f"ray_pd_stream_{name}_total"].split()[-1]) for name in ("images", "written_bytes")}
    assert all(value > 0 for value in values.values())
    assert 'reason="near_copy"' in text or 'reason="reid"' in text


@pytest.fixture(scope="module")
def two(world, tmp_path_factory):
    """What two workers make."""
    out = tmp_path_factory.mktemp("two") / "generated"
    make(world, out, workers=2)
    return out


@pytest.fixture(scope="module")
def four(world, tmp_path_factory):
    """What four workers make."""
    out = tmp_path_factory.mktemp("four") / "generated"
    make(world, out, workers=4)
    return out


def _decide(world, folder, out, thresholds):
    apply_filter(folder, out, thresholds, FilterSettings(), prompts=world.prompts.texts, kept=None, progress=silent)
    return table_of(out).select(["id", "keep", "reason"]).to_pydict()


@pytest.fixture(scope="module")
def halves(world, one, tmp_path_factory):
    """Thresholds at the medians, and the decisions about what one worker made."""
    thresholds = Thresholds(*(float(np.median(table_of(one.out)[name])) for name in ("score", "near_copy")))
    decided = _decide(world, one.out, tmp_path_factory.mktemp("decided") / "one", thresholds)
    assert set(decided["keep"]) == {True, False}
    return SimpleNamespace(thresholds=thresholds, decided=decided)


@pytest.mark.parametrize("workers", ["two", pytest.param("four", marks=pytest.mark.exhaustive)])
def test_the_number_of_workers_changes_nothing(world, one, halves, tmp_path, workers, request):
    other = request.getfixturevalue(workers)
    assert bytes_of(other) == bytes_of(one.out)
    assert _decide(world, other, tmp_path / "decided", halves.thresholds) == halves.decided


@pytest.mark.parametrize("batch", [3, pytest.param(8, marks=pytest.mark.exhaustive)])
def test_the_batch_changes_no_decision(world, one, halves, tmp_path, batch):
    """True of this teacher, whose convolutions are small. A larger one's sums follow the batch: see the sampler."""
    out = tmp_path / "generated"
    make(world, out, batch=batch, workers=1)
    ours, others = table_of(one.out), table_of(out)
    assert others["id"].equals(ours["id"])
    assert np.abs(to_arrays(others["image"]).astype(int) - to_arrays(ours["image"])).max() <= 1
    for name in ("score", "near_copy"):
        np.testing.assert_allclose(others[name].to_numpy(), ours[name].to_numpy(), atol=1e-5)
    assert _decide(world, out, tmp_path / "decided", halves.thresholds) == halves.decided


def test_again_makes_only_what_is_missing_or_damaged(world, one, two, tmp_path):
    out = tmp_path / "generated"
    shutil.copytree(two, out)
    assert make(world, out)["made"] == 0
    damaged = bytearray((out / "part-00002.parquet").read_bytes())
    damaged[40] ^= 1
    (out / "part-00002.parquet").write_bytes(damaged)
    (out / "part-00003.parquet").unlink()
    untouched = (out / "part-00001.parquet").stat().st_mtime_ns
    # More candidates than before: whole shards stay, the short last one (4 of 8) and a new one (2) are made.
    assert make(world, out, candidates=50, workers=1)["made"] == 8 + 8 + 8 + 2
    assert (out / "part-00001.parquet").stat().st_mtime_ns == untouched
    assert table_of(out).slice(0, 44).equals(table_of(one.out))
    # Fewer: the rest goes.
    assert make(world, out, candidates=16)["made"] == 0
    assert table_of(out).equals(table_of(one.out).slice(0, 16))


def test_other_settings_make_another_set_and_hanging_layouts_are_refused(world, two, tmp_path):
    out = tmp_path / "generated"
    shutil.copytree(two, out)
    assert make(world, out, workers=6)["made"] == 0  # nothing to do: no actor is started
    with refused_as("no-resources", "1000"):
        make(world, out, workers=1000, guidance=2.0)  # more than any machine has room for
    assert bytes_of(out) == bytes_of(two)  # a refused command destroys nothing


@pytest.mark.exhaustive
def test_kill_9_and_the_same_command(world, one, tmp_path):
    out = tmp_path / "generated"
    script = textwrap.dedent("""
        import json, sys
        from pathlib import Path
        from pd.config import GenerateSettings
        from pd.engine.stream.candidates import generate
        from pd.filters.prompts import Prompts
        from pd.progress import silent

        teacher, reid, out = (Path(word) for word in sys.argv[1:4])
        prompts = Prompts.from_json(json.loads(sys.argv[4]))
        settings = GenerateSettings.model_validate_json(sys.argv[5])
        generate(teacher=teacher, reid=reid, gallery=reid, prompts=prompts, settings=settings, seed=7, mode="grey",
                 out=out, address=None, progress=silent)
    """)
    many = SETTINGS.model_copy(update={"candidates": 4000, "workers": 2})
    words = [world.teacher, world.reid, out, json.dumps(world.prompts.to_json()), many.model_dump_json()]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    driver = subprocess.Popen([sys.executable, "-c", script, *map(str, words)], env=environment)
    try:
        deadline = time.monotonic() + 300
        while len(list(out.glob(".done/*.json"))) < 3:
            assert driver.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        family = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
        driver.kill()  # SIGKILL
        driver.wait()
    alive = psutil.wait_procs(family, timeout=120)[1]  # Ray's processes die with their driver
    assert not alive
    assert 3 <= len(bytes_of(out)) < 500
    facts = make(world, out, workers=1)
    assert facts["made"] < 44
    assert bytes_of(out) == bytes_of(one.out)
    assert not list(out.glob(".part*"))


def test_kill_9_of_an_actor_costs_one_shard(world, one, tmp_path):
    out, log, killed = tmp_path / "generated", tmp_path / "log", []

    def kill(done, total, info):
        if done >= 16 and not killed:
            killed.append(written(log)[-1][1])
            os.kill(killed[0], signal.SIGKILL)

    facts = make(world, out, workers=2, progress=kill, preview=logging_preview(log))
    assert killed
    assert facts["made"] == 44
    assert bytes_of(out) == bytes_of(one.out)
    assert not list(out.glob(".part*"))
    times = Counter(first for first, _, _ in written(log))
    assert set(times) == {f"{shard.start:09d}" for shard in plan(44, 8, 4)}
    assert times.total() - len(times) <= 1  # the one that was written when its actor could not tell any more


@pytest.mark.exhaustive
def test_a_gallery_in_parts_gives_the_same_rows(world, one, tmp_path):
    out = tmp_path / "generated"
    with refused_as("too-large", "13", "12"):
        make(world, out, workers=1, gallery_parts=13)
    make(world, out, workers=1, gallery_parts=3)
    assert bytes_of(out) == bytes_of(one.out)


def test_an_actors_user_error_arrives_as_it_is(world, tmp_path):
    broken = SimpleNamespace(**{**vars(world), "teacher": tmp_path / "teacher"})
    broken.teacher.mkdir()
    with refused_as("bad-weights", "model_index"):
        make(broken, tmp_path / "generated", workers=1)


def _score(world, source, out, **changes):
    place = Place.parse(str(source))
    return score_images(
        source=place,
        images=list_images(place),
        reid=world.reid,
        gallery=world.reid,
        data=DataSettings(size=SIZE, **changes),
        settings=SETTINGS,
        out=out,
        address=None,
        progress=silent,
    )


@pytest.mark.exhaustive
def test_other_peoples_images(world, bucket, tmp_path):
    source = tmp_path / "theirs"
    (source / "deep").mkdir(parents=True)
    for i, image in enumerate(world.members.images):
        Image.fromarray(image[:, :, 0]).save(source / ("deep" if i % 2 else ".") / f"{i:02d}.png")
    (source / "bad.png").write_bytes(b"\x89PNG no more")
    with refused_as("bad-image", "bad.png"):
        _score(world, source, tmp_path / "scored")
    facts = _score(world, source, tmp_path / "scored", on_bad_image="skip")
    assert facts["candidates"] == 13
    assert len(facts["bad"]) == 1
    assert facts["bad"][0].startswith("bad.png")
    table = table_of(tmp_path / "scored")
    assert len(table) == 12
    found = dict(zip(table["id"].to_pylist(), table["nearest"].to_pylist(), strict=True))
    assert found == {f"{'deep/' if i % 2 else ''}{i:02d}.png": f"real{i}" for i in range(12)}
    np.testing.assert_allclose(table["score"].to_numpy(), 1, atol=1e-5)
    assert _score(world, source, tmp_path / "scored", on_bad_image="skip")["made"] == 0
    bucket.upload(source)
    assert _score(world, f"s3://{BUCKET}/theirs", tmp_path / "far", on_bad_image="skip")["bad"] == facts["bad"]
    assert table_of(tmp_path / "far").equals(table)
    counts = apply_filter(
        tmp_path / "scored",
        tmp_path / "out",
        Thresholds(0.999, 0.9),
        FilterSettings(),
        prompts=None,
        kept=None,
        progress=silent,
    )
    assert counts["dropped"]["reid"] == 12


@pytest.mark.exhaustive
def test_candidates_besides_are_the_same_whichever_others_are_made_and_whole_ones_stay(world, tmp_path):
    prompts = BlockPrompts.after(world.prompts, 44, 4)

    def more(out, *indices):
        shards = [Shard(6 + k, prompts.start + 4 * k, prompts.start + 4 * k + 4) for k in indices]
        facts = generate(
            teacher=world.teacher, reid=world.reid, gallery=world.reid, prompts=prompts, settings=SETTINGS, seed=SEED,
            mode="grey", out=out, address=None, progress=silent, besides=shards,
        )  # fmt: skip
        return facts["made"]

    assert more(tmp_path / "a", 0, 3) == 8
    assert more(tmp_path / "a", 1) == 4
    assert more(tmp_path / "a", 0, 1) == 0
    assert more(tmp_path / "b", 3) == 4
    assert bytes_of(tmp_path / "a").keys() == {f"part-{k:05d}.parquet" for k in (6, 7, 9)}
    (single,) = bytes_of(tmp_path / "b").items()
    assert single in bytes_of(tmp_path / "a").items()
    assert set(table_of(tmp_path / "b")["prompt"].to_pylist()) == {world.prompts.texts[1]}
