"""A rank's inputs: the same whoever reads them, for any number of ranks and from any step on."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import Tensor

from pd.config import DataSettings, ModelSettings
from pd.diffusion.autoencoder import encode
from pd.diffusion.captions import embed
from pd.diffusion.components import Components
from pd.diffusion.data import TrainingData
from pd.diffusion.encode import encode_shard
from pd.diffusion.latents import shard_path
from pd.diffusion.order import share
from pd.diffusion.tokenizer import tokenize
from pd.diffusion.variants import Variants
from pd.engine.runtime import connect, rank_rows
from pd.engine.training import batch_loader as train_feed
from pd.engine.training import encode as train_encode
from pd.engine.training import prepare_model as train_ground
from pd.engine.training import stream as train_stream
from pd.engine.training.batch_loader import Feed, Reader
from pd.engine.training.dataset_reference import hand_over
from pd.engine.training.definition import Job, name_of
from pd.engine.training.inputs import prepare
from pd.engine.training.progress_file import ProgressWriter
from pd.engine.training.step_inputs import drawn, open_latents
from pd.engine.training.stream import Feeder, Part, Stream
from pd.engine.training.train import train_model
from pd.store.atomic import write_json

SIZE, SEED, ROWS, BATCH = 16, 7, 23, 6


class Rank:
    """One of several ranks that are threads of this process."""

    def __init__(self, rank: int, world: int, meeting: "Meeting | None" = None) -> None:
        self.rank, self.world, self.device, self._meeting = rank, world, torch.device("cpu"), meeting

    def agree(self, value: Any) -> Any:
        return value if self._meeting is None else self._meeting.agree(self.rank, value)


class Meeting:
    """Where ranks hear what the first one says."""

    def __init__(self, world: int) -> None:
        self._barrier, self._said = threading.Barrier(world), None

    def agree(self, rank: int, value: Any) -> Any:
        if rank == 0:
            self._said = value
        self._barrier.wait()
        said = self._said
        self._barrier.wait()
        return said


def pictures() -> TrainingData:
    images = np.random.default_rng(0).integers(0, 256, (ROWS, SIZE, SIZE, 1), dtype=np.uint8)
    return TrainingData(images, [f"a face {row % 3}" for row in range(ROWS)])


def job_in(folder: Path, **changes: Any) -> Job:
    folder.mkdir(exist_ok=True)
    settings = {"unet": "tiny", "workers": 0, "steps": 12, "batch": BATCH, "flip": True, "train_text_encoder": False}
    return Job(ModelSettings.model_validate(settings | changes), DataSettings(size=SIZE), SEED, folder)


def prepared(job: Job, window_rows: int) -> Components:
    """A finished cache of shards of four rows, in windows of so many."""
    hand_over(pictures(), job.inputs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_encode, "SHARD_ROWS", 4)
        log = ProgressWriter(job.progress, job.tensorboard)
        parts = prepare(job, torch.device("cpu"), log)
        log.close(finished=False)
    write_json(job.prepared, {"rows": ROWS, "shard_rows": 4, "window_rows": window_rows})
    return parts


def batches(feed: Feed, steps: range, size: int) -> list[tuple[Tensor, ...]]:
    return [part for step in steps for part in feed.micro_batches(step, size)]


def same(one: list[tuple[Tensor, ...]], other: list[tuple[Tensor, ...]]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for first, second in zip(one, other, strict=True) for a, b in zip(first, second, strict=True)
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    connect()
    yield
    ray.shutdown()


@pytest.mark.parametrize("window_rows", [100, 8])
def test_ranks_together_see_what_one_sees_from_any_step_on(tmp_path: Path, window_rows: int) -> None:
    parts = prepared(job := job_in(tmp_path), window_rows)
    alone = batches(Feed(job, Rank(0, 1), parts), range(12), 2)  # type: ignore[arg-type]
    both = [batches(Feed(job, Rank(rank, 2), parts), range(5, 12), 1) for rank in (0, 1)]  # type: ignore[arg-type]
    for step in range(5, 12):
        whole = alone[3 * step : 3 * step + 3]
        for at in range(4):  # latents, noise, timesteps, and each row's text
            expected = torch.cat([part[at] if at < 3 else part[3][part[4]] for part in whole])
            rows = [both[rank][3 * (step - 5) + k] for rank in (0, 1) for k in range(3)]
            torch.testing.assert_close(torch.cat([row[at] if at < 3 else row[3][row[4]] for row in rows]), expected)


def test_where_a_batch_does_not_divide_among_ranks_each_row_counts_once_and_the_rest_not_at_all(tmp_path: Path) -> None:
    parts = prepared(job := job_in(tmp_path, workers=[1, 4]), 8)
    ((latents, noise, *_),) = Feed(job, Rank(0, 1), parts).micro_batches(3, BATCH)  # type: ignore[arg-type]
    four = [batches(Feed(job, Rank(rank, 4), parts), range(3, 4), 2)[0] for rank in range(4)]  # type: ignore[arg-type]
    weights = torch.cat([given[5] for given in four])
    assert weights.tolist() == pytest.approx([8 / 6] * 6 + [0, 0])
    for at, whole in ((0, latents), (1, noise)):
        assert torch.equal(torch.cat([given[at] for given in four])[:BATCH], whole)


def test_rows_are_the_images_captions_and_variants_that_are_drawn(tmp_path: Path) -> None:
    parts = prepared(job := job_in(tmp_path, caption_dropout=0.5, crop=0.5, crop_variants=2), 8)
    latents = open_latents(job)
    images, variants = np.asarray(pictures().images), Variants.of(job.settings, SEED)
    each = torch.stack([encode(parts.vae, variants.apply(images, 0, v)) for v in range(4)])
    texts = ["", "a face 0", "a face 1", "a face 2"]
    words = dict(zip(texts, embed(parts.text_encoder.eval(), tokenize(parts.tokenizer, texts)), strict=True))
    feed = Feed(job, Rank(0, 1), parts)  # type: ignore[arg-type]
    for step in (0, 7):
        batch = drawn(job, latents, latents.order(SEED), step, 1000)
        ((clean, noise, timesteps, text, rows),) = feed.micro_batches(step, BATCH)
        torch.testing.assert_close(clean, each[batch.variant, batch.indices], atol=1e-4, rtol=1e-4)
        assert torch.equal(noise, batch.noise)
        assert torch.equal(timesteps, batch.timesteps)
        said = ["" if drop else f"a face {row % 3}" for row, drop in zip(batch.indices.tolist(), batch.drop, strict=True)]
        torch.testing.assert_close(text[rows], torch.stack([words[one] for one in said]), atol=1e-5, rtol=1e-5)


def test_latents_with_a_deviation_are_sampled_anew_at_each_visit(tmp_path: Path) -> None:
    parts = prepared(job := job_in(tmp_path, flip=False), 100)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(8, 8, 8),
            latent_channels=16,
            norm_num_groups=4,
        ).eval()
    for shard in range(6):
        images = np.asarray(pictures().images)[4 * shard : 4 * shard + 4]
        encode_shard(vae, images, 4 * shard, Variants.of(job.settings, SEED), shard_path(job.latents, shard))
    latents = open_latents(job)
    assert latents.deviates
    order, feed, seen = latents.order(SEED), Feed(job, Rank(0, 1), parts), []  # type: ignore[arg-type]
    for step in range(12):
        batch = drawn(job, latents, order, step, 1000)
        stored = latents.take(order, share(step, BATCH), np.zeros(BATCH, np.int64))
        ((clean, *_),) = feed.micro_batches(step, BATCH)
        assert batch.spread is not None
        expected = torch.from_numpy(stored["mean"]) + torch.from_numpy(stored["deviation"]) * batch.spread
        torch.testing.assert_close(clean, expected)
        seen += [(row, latent) for row, latent in zip(batch.indices.tolist(), clean, strict=True)]
    of_first = [latent for row, latent in seen if row == 0]
    assert len(of_first) >= 3
    assert not torch.equal(of_first[0], of_first[1])


def test_a_frozen_text_encoder_runs_here_when_its_embeddings_were_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached, live = job_in(tmp_path / "cached"), job_in(tmp_path / "live")
    expected = batches(Feed(cached, Rank(0, 1), prepared(cached, 100)), range(3), 3)  # type: ignore[arg-type]
    monkeypatch.setattr(train_ground, "TEXT_BYTES", 0)
    found = batches(Feed(live, Rank(0, 1), prepared(live, 100)), range(3), 3)  # type: ignore[arg-type]
    for one, other in zip(found, expected, strict=True):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_blocks_of_a_stream_are_each_ranks_rows_in_turn() -> None:
    part = Part(start=3, stop=10, chunk=3, world=2, batch=4, each=2)
    assert part.blocks == 6
    assert [list(part.steps_of(block)) for block in range(6)] == [[3, 4, 5]] * 2 + [[6, 7, 8]] * 2 + [[9]] * 2


def test_a_stream_has_a_bounded_number_of_blocks_of_a_few_megabytes() -> None:
    small = Part.starting(0, 900, world=1, batch=64, each=64, row_bytes=4096)
    assert (small.start, small.stop, small.chunk, small.blocks) == (0, 900, 16, 57)
    large = Part.starting(5, 10**6, world=128, batch=2048, each=16, row_bytes=2**16)
    assert large.chunk == 4
    assert large.stop == 5 + 4 * 64
    assert large.blocks == 128 * 64
    huge = Part.starting(0, 10, world=1, batch=64, each=64, row_bytes=2**24)
    assert huge.chunk == 1


def streamed(job: Job, parts: Components, world: int, steps: range) -> list[list[tuple[Tensor, ...]]]:
    """What each rank of a stream gets."""
    meeting, found, errors = Meeting(world), [[] for _ in range(world)], []  # type: ignore[var-annotated]

    def read(rank: int) -> None:
        try:
            worker = Rank(rank, world, meeting)
            feed = Feed(job, worker, parts)  # type: ignore[arg-type]
            each = rank_rows(job.settings, world)
            feed._source = Stream(job, worker, open_latents(job), 1000, each)  # type: ignore[arg-type]
            found[rank] = batches(feed, steps, each)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read, args=(rank,)) for rank in range(world)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not errors
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("world", "start", "changes"),
    [
        pytest.param(1, 5, {}, marks=pytest.mark.exhaustive),
        pytest.param(2, 0, {"flip": False}, marks=pytest.mark.exhaustive),
        (2, 5, {}),
        pytest.param(4, 5, {"workers": [1, 4]}, marks=pytest.mark.exhaustive, id="uneven"),
    ],
)
def test_a_stream_gives_what_a_reader_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: int, start: int, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr("pd.engine.training.stream.BLOCK_BYTES", 3 * BATCH // world * 1024)  # three steps a block
    monkeypatch.setattr("pd.engine.training.stream.BLOCKS", 2 * world)
    monkeypatch.setattr("pd.engine.training.stream.CHUNKS", 2)  # so that there are two streams
    parts = prepared(job := job_in(tmp_path, **changes), 8)
    found = streamed(job, parts, world, range(start, 12))
    for rank in range(world):
        reader = Feed(job, Rank(rank, world), parts)  # type: ignore[arg-type]
        assert isinstance(reader._source, Reader)
        assert same(found[rank], batches(reader, range(start, 12), rank_rows(job.settings, world)))


def test_rows_out_of_order_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = prepared(job := job_in(tmp_path), 8)

    class End:
        def iter_batches(self, **_: Any) -> list[Any]:
            feeder = Feeder(job, Part(0, 12, 1, 1, BATCH, BATCH), 1000)
            return [feeder({"block": np.array([step])}) for step in (0, 2)]

    monkeypatch.setattr(train_stream, "_start", lambda *_: [End()])
    stream = Stream(job, Rank(0, 1), open_latents(job), 1000, BATCH)  # type: ignore[arg-type]
    expected = Feed(job, Rank(0, 1), parts)._source.take(0, drawn_variants(job, 0))  # type: ignore[arg-type]
    assert np.array_equal(stream.take(0, drawn_variants(job, 0))["mean"], expected["mean"])
    with pytest.raises(RuntimeError, match=r"out of order: rank 0 of 1 got position \[12\] in step 1 where \[6\] was due"):
        stream.take(1, drawn_variants(job, 1))


def drawn_variants(job: Job, step: int) -> np.ndarray:
    latents = open_latents(job)
    return drawn(job, latents, latents.order(SEED), step, 1000).variant.numpy()


def test_only_what_is_larger_than_a_window_is_streamed_and_only_on_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = prepared(job := job_in(tmp_path), 8)
    assert isinstance(Feed(job, Rank(0, 1), parts)._source, Reader)  # type: ignore[arg-type]
    monkeypatch.setattr(train_feed, "RayWorker", Rank)
    assert isinstance(Feed(job, Rank(0, 1), parts)._source, Stream)  # type: ignore[arg-type]
    write_json(job.prepared, {"rows": ROWS, "shard_rows": 4, "window_rows": ROWS})
    assert isinstance(Feed(job, Rank(0, 1), parts)._source, Reader)  # type: ignore[arg-type]


@pytest.mark.exhaustive
@pytest.mark.usefixtures("cluster")
def test_two_workers_of_ray_train_on_a_stream_end_where_one_process_does(tmp_path: Path) -> None:
    weights = []
    for workers in (0, 2):
        settings = {"workers": workers, "cpus_per_worker": 1.0, "checkpoint_every": 4, "steps": 6}  # no CPU is left over
        job = job_in(tmp_path / str(workers), **settings)
        named = Job(job.settings, job.data, SEED, job.folder / name_of(job.settings, job.data, pictures(), SEED))
        named.folder.mkdir()
        prepared(named, 8)
        train_model(job.settings, job.data, pictures(), job.folder / "out", job.folder, SEED)
        weights.append(load_file(job.folder / "out" / "unet" / "diffusion_pytorch_model.safetensors"))
    assert max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0]) < 1e-4
