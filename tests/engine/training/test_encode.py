"""The pass that encodes images before training: what it leaves behind, whoever does it and however often it is killed."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import ray
import torch

from pd.config import DataSettings, ModelSettings
from pd.dataset.parquet_images import ParquetImages
from pd.diffusion import autoencoder, encode
from pd.diffusion.captions import CaptionTable
from pd.diffusion.captions import embed as embed_text
from pd.diffusion.components import build
from pd.diffusion.data import TrainingData
from pd.diffusion.tensor_table import read_arrays
from pd.diffusion.variants import Variants
from pd.engine.runtime import connect
from pd.engine.training import encode as train_encode
from pd.engine.training import prepare_model as train_ground
from pd.engine.training.dataset_reference import hand_over, receive
from pd.engine.training.definition import Job
from pd.engine.training.encode import encode_on_ray, missing, shard_rows
from pd.engine.training.inputs import prepare
from pd.engine.training.progress_file import ProgressWriter
from pd.engine.training.step_inputs import open_latents
from pd.errors import UserError
from pd.seeds import derive

SIZE, SEED = 16, 7
CPU = torch.device("cpu")


def job_in(folder: Path, **changes: Any) -> Job:
    settings = ModelSettings.model_validate({"unet": "tiny", "workers": 0} | changes)
    folder.mkdir(exist_ok=True)
    return Job(settings, DataSettings(size=SIZE), SEED, folder)


def pictures(rows: int = 11) -> TrainingData:
    images = np.random.default_rng(0).integers(0, 256, (rows, SIZE, SIZE, 1), dtype=np.uint8)
    return TrainingData(images, [f"a face {row % 3}" if row % 4 else "" for row in range(rows)])


def prepared(job: Job, tell: Any = None) -> Job:
    if not job.inputs.exists():
        hand_over(pictures(), job.inputs)
    log = ProgressWriter(job.progress, job.tensorboard, tell)
    prepare(job, CPU, log)
    log.close(finished=False)
    return job


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob("*") if file.is_file()}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_encode, "SHARD_ROWS", 4)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    connect()
    yield
    ray.shutdown()


def test_what_is_handed_over_arrives(tmp_path: Path) -> None:
    given = pictures()
    hand_over(given, tmp_path / "a")
    found = receive(tmp_path / "a")
    assert isinstance(found.images, ParquetImages)
    assert found.fingerprint() == given.fingerprint()
    some = TrainingData(found.images.take(np.array([7, 2])), ["x", "y"])
    hand_over(some, tmp_path / "b")
    assert [file.name for file in (tmp_path / "b").iterdir()] == ["rows.parquet"]  # pixels stay where they are
    assert receive(tmp_path / "b").fingerprint() == some.fingerprint()


def test_shards_follow_from_settings_and_hold_few_bytes() -> None:
    def rows(size: int, **changes: Any) -> int:
        return shard_rows(Job(ModelSettings.model_validate(changes), DataSettings(size=size), SEED, Path()))

    assert rows(32) == rows(32, flip=True) == train_encode.SHARD_ROWS
    assert rows(512) > rows(512, flip=True) > rows(512, flip=True, crop=0.5) >= 1
    assert rows(512, base="x", autoencoder="base") > rows(512)


@pytest.mark.usefixtures("small_shards")
def test_a_killed_pass_goes_on_and_leaves_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prepared(job_in(tmp_path / "whole", flip=True))
    assert len(list(whole.latents.iterdir())) == 3

    class Killed(BaseException):
        pass

    made: list[Path] = []
    real = encode.encode_shard

    def dies_in_second(*arguments: Any) -> int:
        if len(made) == 1:
            (arguments[-1].parent / f".{arguments[-1].name}.partial").write_bytes(b"half")
            raise Killed
        made.append(arguments[-1])
        return real(*arguments)

    job = job_in(tmp_path / "killed", flip=True)
    with monkeypatch.context() as patch:
        patch.setattr(encode, "encode_shard", dies_in_second)
        with pytest.raises(Killed):
            prepared(job)
    assert not job.prepared.exists()
    assert [shard.index for shard in missing(job, 11)] == [1, 2]
    before = made[0].stat().st_mtime_ns
    prepared(job)
    assert made[0].stat().st_mtime_ns == before
    assert digests(job.latents) == digests(whole.latents)
    assert digests(job.cache) == digests(whole.cache)


@pytest.mark.usefixtures("small_shards")
def test_the_cache_holds_what_the_model_makes_of_the_images(tmp_path: Path) -> None:
    job = prepared(job_in(tmp_path, crop=0.6, crop_variants=2))
    latents = open_latents(job)
    assert (latents.rows, latents.shard_rows, latents.variants) == (11, 4, 2)
    order, positions = latents.order(SEED), np.arange(11)
    cropped = Variants.of(job.settings, SEED).apply(np.asarray(pictures().images), 0, 1)
    expected = autoencoder.encode(autoencoder.bundled("grey", SIZE), cropped).numpy()
    found = latents.take(order, positions, np.ones(11, np.int64))["mean"]
    np.testing.assert_allclose(found, expected[order.at(positions)], atol=1e-4)
    assert not job.inputs.exists(), "pixels stay no longer than needed"


def test_progress_is_told_in_images(tmp_path: Path, small_shards: None) -> None:
    told: list[Mapping[str, Any]] = []
    prepared(job_in(tmp_path), told.append)
    assert [(record["step"], record["steps"], record["phase"]) for record in told] == [
        (done, 11, "preparing") for done in (0, 4, 8, 11)
    ]


@pytest.mark.parametrize(
    ("changes", "limit", "kind"),
    [
        ({"train_text_encoder": True}, 2**30, "tokens"),
        ({"train_text_encoder": False}, 2**30, "embeddings"),
        ({"train_text_encoder": False}, 1000, "tokens"),
    ],
)
def test_embeddings_of_captions_are_cached_where_they_stay_the_same_and_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], limit: int, kind: str
) -> None:
    monkeypatch.setattr(train_ground, "TEXT_BYTES", limit)
    job = prepared(job_in(tmp_path, **changes))
    parts = build(job.settings, job.data, derive(SEED, "weights"))
    table = CaptionTable(parts.tokenizer, pictures().captions)
    expected = table.tokens if kind == "tokens" else embed_text(parts.text_encoder.eval(), table.tokens)
    found = read_arrays(job.text)
    assert list(found) == [kind]
    assert len(found[kind]) == 4, "each distinct caption once, the empty one first"
    torch.testing.assert_close(torch.from_numpy(found[kind].copy()), expected)
    assert read_arrays(job.captions)["row"].tolist() == table.rows.tolist()


@pytest.mark.exhaustive
@pytest.mark.usefixtures("cluster")
def test_ray_makes_the_same_shards_as_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_encode, "SHARD_ROWS", 4)
    alone = prepared(job_in(tmp_path / "alone", autoencoder="train"))
    job = job_in(tmp_path / "ray", autoencoder="train", workers=1)
    hand_over(pictures(), job.inputs)
    told: list[tuple[int, int, object]] = []

    def tell(done: int, total: int, info: Mapping[str, object]) -> None:
        told.append((done, total, info["phase"]))

    encode_on_ray(job, 11, tell)
    assert told[0] == (0, 11, "preparing")
    assert told[-1] == (11, 11, "preparing")
    assert digests(job.latents) == digests(alone.latents)
    victim = sorted(job.latents.iterdir())[1]
    victim.unlink()
    kept = digests(job.latents)
    encode_on_ray(job, 11, tell)
    assert digests(job.latents) == kept | {victim.name: digests(alone.latents)[victim.name]}
    prepared(job)
    assert digests(job.cache) == digests(alone.cache)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_what_the_user_did_wrong_is_said_before_anything_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_encode, "SHARD_ROWS", 4)
    job, images = job_in(tmp_path, workers=1), pictures()
    hand_over(TrainingData(images.images, ["word " * 100, *images.captions[1:]]), job.inputs)
    with pytest.raises(UserError, match="more than 77 tokens"):
        encode_on_ray(job, 11, lambda *_: None)
    assert not job.latents.exists()


def test_what_one_shard_holds_is_left_to_the_first_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("actors are started")

    monkeypatch.setattr("pd.engine.stream.pool.run_pool", refuse)
    encode_on_ray(job_in(tmp_path, workers=1), train_encode.SHARD_ROWS, refuse)


def test_columns_are_plain_numbers_that_any_reader_finds(tmp_path: Path) -> None:
    job = prepared(job_in(tmp_path, flip=True))
    (file,) = job.latents.iterdir()
    schema = pq.read_schema(file)
    assert schema.names == ["mean.0", "mean.1"]
    assert schema.field("mean.0").metadata == {b"dtype": b"float32", b"shape": b"[16, 4, 4]"}
