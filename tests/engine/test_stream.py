"""The stream with real parts of random weights: the same rows whatever the workers, the crashes and the damage."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from functools import partial
from types import SimpleNamespace

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from bucket import BUCKET, s3_server
from diffusers import AutoencoderKL
from PIL import Image

from pd.config import DataSettings, FilterSettings, GenerateSettings, ModelSettings, ReidSettings
from pd.dataset.foreign import list_images
from pd.dataset.images import to_arrays
from pd.dataset.private import PrivateDataset
from pd.diffusion.components import build
from pd.diffusion.export import export
from pd.diffusion.sampler import Sampler
from pd.engine.stream import generate, score_images
from pd.errors import UserError
from pd.filters.apply import apply_filter
from pd.filters.decide import Thresholds, foretell
from pd.filters.gallery import build_gallery
from pd.filters.prompts import choose_prompts
from pd.filters.scorer import Scorer
from pd.progress import silent
from pd.reid.network import build as build_reid
from pd.reid.network import save
from pd.seeds import derive
from pd.store.places import Place

SIZE, SEED = 16, 7
SETTINGS = GenerateSettings(candidates=44, sampler_steps=2, guidance=1.0, shard_size=8, batch=4)


@pytest.fixture(scope="module", autouse=True)
def bucket():
    """An S3 server, which the environment of the cluster names."""
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="module", autouse=True)
def cluster(bucket):
    """Four Ray CPUs, whatever the machine has."""
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=2**27)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A teacher, a network and a gallery, all untrained."""
    root = tmp_path_factory.mktemp("world")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            latent_channels=4,
            norm_num_groups=4,
            sample_size=SIZE,
        ).eval()
    model = ModelSettings(unet="tiny", autoencoder="train")
    export(build(model, DataSettings(size=SIZE), seed=1, vae=vae), root / "teacher")
    images = np.random.default_rng(0).integers(0, 256, (12, SIZE, SIZE, 1), dtype=np.uint8)
    captions, people = ["a face", "a face with glasses"] * 6, [f"p{i // 2}" for i in range(12)]
    labels = {"glasses": np.array([0.0, 1.0] * 6)}
    members = PrivateDataset([f"real{i}" for i in range(12)], images, people, ["member"] * 12, captions, labels)
    network = build_reid(ReidSettings(dim=16), seed=2).eval()
    save(network, root / "reid")
    build_gallery([network], members, root / "reid")
    prompts = choose_prompts(captions, people, labels, 3)
    return SimpleNamespace(teacher=root / "teacher", reid=root / "reid", prompts=prompts, members=members)


def _generate(world, out, progress=silent, foretell=None, **changes):
    return generate(
        teacher=world.teacher,
        reid=world.reid,
        gallery=world.reid,
        prompts=world.prompts,
        settings=SETTINGS.model_copy(update=changes),
        seed=SEED,
        mode="grey",
        out=out,
        address=None,
        progress=progress,
        foretell=foretell,
    )


def _table(folder):
    return pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("*.parquet"))])


def _bytes(folder):
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.glob("*.parquet"))}


@pytest.fixture(scope="module")
def one(world, tmp_path_factory):
    """What one worker makes without interruption."""
    out = tmp_path_factory.mktemp("one") / "generated"
    seen = []
    settings, thresholds = FilterSettings(), Thresholds(reid=0.99, near_copy=-1.0)
    facts = _generate(
        world,
        out,
        workers=1,
        progress=lambda done, total, info: seen.append((done, total, info)),
        foretell=partial(foretell, settings=settings, thresholds=thresholds),
    )
    return SimpleNamespace(out=out, facts=facts, seen=seen)


def test_rows_are_what_the_seed_and_the_id_say(world, one):
    table = _table(one.out)
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
    assert set(one.facts["seconds"]) == {"sample", "score", "encode"}
    assert sorted(done for done, _, _ in one.seen) == [*range(0, 44, 8), 44]
    assert {total for _, total, _ in one.seen} == {44}
    last = one.seen[-1][2]
    assert last["kept"] == "0%"
    reid = np.mean(_table(one.out)["score"].to_numpy() >= np.float32(0.99))
    assert last.get("near_copy", "0%") == f"{1 - reid:.0%}"


@pytest.fixture(scope="module")
def two(world, tmp_path_factory):
    """What two workers make."""
    out = tmp_path_factory.mktemp("two") / "generated"
    _generate(world, out, workers=2)
    return out


@pytest.fixture(scope="module")
def four(world, tmp_path_factory):
    """What four workers make."""
    out = tmp_path_factory.mktemp("four") / "generated"
    _generate(world, out, workers=4)
    return out


@pytest.mark.parametrize("workers", ["two", "four"])
def test_the_number_of_workers_changes_nothing(world, one, tmp_path, workers, request):
    other = request.getfixturevalue(workers)
    assert _bytes(other) == _bytes(one.out)
    thresholds = Thresholds(*(float(np.median(_table(one.out)[name])) for name in ("score", "near_copy")))
    decided = []
    for folder in (one.out, other):
        out = tmp_path / f"decided{len(decided)}"
        apply_filter(folder, out, thresholds, FilterSettings(), prompts=world.prompts.texts, kept=None, progress=silent)
        decided.append(_table(out).select(["id", "keep", "reason"]).to_pydict())
    assert decided[0] == decided[1]
    assert set(decided[0]["keep"]) == {True, False}


def test_again_makes_only_what_is_missing_or_damaged(world, one, two, tmp_path):
    out = tmp_path / "generated"
    shutil.copytree(two, out)
    assert _generate(world, out)["made"] == 0
    damaged = bytearray((out / "part-00002.parquet").read_bytes())
    damaged[40] ^= 1
    (out / "part-00002.parquet").write_bytes(damaged)
    (out / "part-00003.parquet").unlink()
    untouched = (out / "part-00001.parquet").stat().st_mtime_ns
    # More candidates than before: whole shards stay, the short last one (4 of 8) and a new one (2) are made.
    assert _generate(world, out, candidates=50, workers=1)["made"] == 8 + 8 + 8 + 2
    assert (out / "part-00001.parquet").stat().st_mtime_ns == untouched
    assert _table(out).slice(0, 44).equals(_table(one.out))
    # Fewer: the rest goes.
    assert _generate(world, out, candidates=16)["made"] == 0
    assert _table(out).equals(_table(one.out).slice(0, 16))


def test_other_settings_make_another_set_and_hanging_layouts_are_refused(world, two, tmp_path):
    out = tmp_path / "generated"
    shutil.copytree(two, out)
    assert _generate(world, out, workers=6)["made"] == 0  # nothing to do: no actor is started
    with pytest.raises(UserError, match="1000 actors of"):
        _generate(world, out, workers=1000, guidance=2.0)  # more than any machine has room for
    assert _bytes(out) == _bytes(two)  # a refused command destroys nothing


def test_kill_9_and_the_same_command(world, one, tmp_path):
    out = tmp_path / "generated"
    script = textwrap.dedent("""
        import json, sys
        from pathlib import Path
        from pd.config import GenerateSettings
        from pd.engine.stream import generate
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
    assert 3 <= len(_bytes(out)) < 500
    facts = _generate(world, out, workers=1)
    assert facts["made"] < 44
    assert _bytes(out) == _bytes(one.out)
    assert not list(out.glob(".part*"))


def test_an_actors_user_error_arrives_as_it_is(world, tmp_path):
    broken = SimpleNamespace(**{**vars(world), "teacher": tmp_path / "teacher"})
    broken.teacher.mkdir()
    with pytest.raises(UserError, match="model_index"):
        _generate(broken, tmp_path / "generated", workers=1)


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


def test_other_peoples_images(world, bucket, tmp_path):
    source = tmp_path / "theirs"
    (source / "deep").mkdir(parents=True)
    for i, image in enumerate(world.members.images):
        Image.fromarray(image[:, :, 0]).save(source / ("deep" if i % 2 else ".") / f"{i:02d}.png")
    (source / "bad.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(UserError, match=r"bad\.png"):
        _score(world, source, tmp_path / "scored")
    facts = _score(world, source, tmp_path / "scored", on_bad_image="skip")
    assert facts["candidates"] == 13
    assert len(facts["bad"]) == 1
    assert facts["bad"][0].startswith("bad.png")
    table = _table(tmp_path / "scored")
    assert len(table) == 12
    found = dict(zip(table["id"].to_pylist(), table["nearest"].to_pylist(), strict=True))
    assert found == {f"{'deep/' if i % 2 else ''}{i:02d}.png": f"real{i}" for i in range(12)}
    np.testing.assert_allclose(table["score"].to_numpy(), 1, atol=1e-5)
    assert _score(world, source, tmp_path / "scored", on_bad_image="skip")["made"] == 0
    bucket.upload(source)
    assert _score(world, f"s3://{BUCKET}/theirs", tmp_path / "far", on_bad_image="skip")["bad"] == facts["bad"]
    assert _table(tmp_path / "far").equals(table)
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
