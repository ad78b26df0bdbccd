"""Images to latents, once before training: in shards that any number of actors make and that no crash costs twice.

A shard is a range of rows whose size follows from settings alone; it is written aside and renamed, so the file that is
there is whole, and a pass that was killed resumes with the files that are not. A shard's bytes depend on its rows: they
are computed on one thread where there is no GPU, in the same batches, whoever makes them.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pd.dataset.parquet_images import Images
from pd.diffusion.data import TrainingData
from pd.diffusion.latents import shard_path
from pd.engine.runtime import unwrap
from pd.engine.stream.layout import plan_layout
from pd.engine.stream.shards import Shard, plan
from pd.engine.training.dataset_reference import receive, receive_images
from pd.engine.training.definition import Job
from pd.engine.training.progress_file import ProgressWriter
from pd.engine.waiting import awaited
from pd.errors import UserError
from pd.progress import Progress
from pd.store.kept import keep
from pd.store.mirror import committed, refresh

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

SHARD_BYTES = 2**26  # of latents, about
SHARD_ROWS = 2048  # at most: what a crash can cost an actor


def shard_rows(job: Job) -> int:
    """Images of a shard, for latents of about SHARD_BYTES; known without the model."""
    settings, pixels = job.settings, job.data.size**2
    # Bytes of mean and deviation together: of a base's as in Stable Diffusion (4 channels at an eighth of the size), or of
    # pd's own (24 channels at a quarter, no deviation).
    each = pixels // 2 if settings.autoencoder == "base" else 6 * pixels
    variants = (settings.crop_variants if settings.crop else 1) * (2 if settings.flip else 1)
    return max(1, min(SHARD_ROWS, SHARD_BYTES // (each * variants)))


def missing(job: Job, rows: int) -> list[Shard]:
    """The shards of `rows` images that are not there; what a killed pass left half written goes. Nobody may be writing."""
    for left in job.latents.glob(".*.partial"):
        left.unlink()
    shards = plan(rows, shard_rows(job), 1)
    refresh(job.folder)
    there = committed(job.latents)
    if there is not None:  # a driver need not have them
        names = {name.rpartition("/")[2] for name in there}
        return [shard for shard in shards if shard_path(job.latents, shard.index).name not in names]
    return [shard for shard in shards if not shard_path(job.latents, shard.index).exists()]


def encode_here(job: Job, vae: "AutoencoderKL", images: TrainingData, log: ProgressWriter) -> None:
    """Make the missing shards in this process, without Ray."""
    todo = missing(job, len(images))
    done = len(images) - sum(shard.stop - shard.start for shard in todo)
    for shard in todo:
        _make(job, vae, images.images, shard)
        done += shard.stop - shard.start
        log.write(done, len(images), phase="preparing")


def encode_on_ray(job: Job, rows: int, progress: Progress) -> None:
    """Make the missing shards on all of the cluster, which nobody else may be using yet.

    What fits into a single shard is left to the training's first worker, which starts in any case: to start actors for it
    would take longer.

    Raises:
        UserError: settings, base, images and captions do not fit together, or shards are missing in the end.
    """
    from pd.engine.stream.pool import run_pool

    todo = missing(job, rows)
    if rows <= shard_rows(job) or not todo:
        return
    import ray

    def told(done: int, total: int, info: Mapping[str, object]) -> None:
        progress(done, total, {"phase": "preparing", **info})

    told(0, rows, {})
    gpus = job.settings.gpus_per_worker
    try:
        # First what a user may have got wrong, before hours of encoding.
        prepared = ray.remote(num_cpus=0.5, num_gpus=gpus or None, max_retries=2)(_prepare_model).remote(job)
        awaited(prepared, "the model that encodes")
    except Exception as error:
        raise unwrap(error) or error from None
    while todo:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        layout = plan_layout(nodes, 0, gpus, len(todo))
        outcome = run_pool(Encoder, {"job": job}, [asdict(shard) for shard in todo], layout, progress=told, total=rows)
        left = missing(job, rows)
        if len(left) == len(todo):
            raise UserError(
                f"{len(left)} shards of latents did not arrive",
                code="lost-workers",
                where=str(job.latents),
                fix="keep the run folder on storage that all nodes share, and run the same command again",
            ) from outcome.cause
        todo = left


class Encoder:
    """An actor of the pass: decodes, encodes and writes shard after shard, with the autoencoder loaded once.

    Args:
        job: whose inputs are handed over, and whose model is prepared.
    """

    def __init__(self, job: Job) -> None:
        from pd.engine.stream.work import use_device
        from pd.engine.training.prepare_model import rebuild

        self._job, self._images = job, receive_images(job.inputs)
        self._vae = rebuild(job).vae.to(use_device(job.settings.gpus_per_worker))

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Make the shard that a row of Ray Data tells of; returns what `stream.pool` counts."""
        begin, shard = time.perf_counter(), Shard.of(row)
        size = _make(self._job, self._vae, self._images, shard)
        seconds = json.dumps({"latents": time.perf_counter() - begin})
        rows = shard.stop - shard.start
        return {"index": shard.index, "rows": rows, "bytes": size, "seconds": seconds, "reasons": "{}"}


def _prepare_model(job: Job) -> None:
    import torch

    from pd.engine.training.prepare_model import lay_ground
    from pd.store.atomic import keep_private

    keep_private()
    lay_ground(job, receive(job.inputs), torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def _make(job: Job, vae: "AutoencoderKL", images: Images, shard: Shard) -> int:
    """Encode and write a shard; returns its bytes."""
    from pd.diffusion.encode import encode_shard
    from pd.diffusion.variants import Variants

    pixels, variants = images[shard.start : shard.stop], Variants.of(job.settings, job.seed)
    with _one_thread():
        size = encode_shard(vae, pixels, shard.start, variants, shard_path(job.latents, shard.index))
    keep(shard_path(job.latents, shard.index))
    return size


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums are split by the number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
