"""What the training loop reads: a step's rows of the cache, for one rank, as the model takes them.

Which rows those are is a function of (seed, step, rank, ranks), from whichever step a run resumes, and the same whether a rank
reads them itself (`Reader`) or has them sent (`pd.engine.training.stream`).
"""

import json
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from pd.diffusion.captions import embed, look_up
from pd.diffusion.components import Components
from pd.diffusion.latents import Floats, Latents
from pd.diffusion.order import Order, Rows, share
from pd.diffusion.tensor_table import read_arrays
from pd.engine.runtime import rank_rows
from pd.engine.training.definition import Job
from pd.engine.training.step_inputs import drawn, open_latents
from pd.engine.training.stream import Stream
from pd.engine.training.worker import RayWorker, Worker


class Source(Protocol):
    """Where a rank's latents come from."""

    def take(self, step: int, variants: Rows) -> dict[str, Floats]:
        """This rank's latents of a step, in these variants, as `Latents.take` gives them."""


class Reader:
    """Reads the cache itself, and holds a window of it.

    Args:
        latents: the cache.
        order: of its rows.
        batch: rows of a step, over all ranks.
        rank: this one.
        each: rows of each rank.
    """

    def __init__(self, latents: Latents, order: Order, batch: int, rank: int, each: int) -> None:
        self._latents, self._order, self._batch, self._rank, self._each = latents, order, batch, rank, each

    def take(self, step: int, variants: Rows) -> dict[str, Floats]:
        """As `Source`."""
        positions = share(step, self._batch, self._rank, self._each)
        return self._latents.take(self._order, positions, variants)


class Feed:
    """A rank's inputs, step by step. All ranks ask for the same steps, in turn.

    Args:
        job: with a finished cache.
        worker: this rank.
        components: the model; its text encoder runs here when it is frozen and tokens are cached all the same.

    Attributes:
        truncated_captions: how many images have a caption that was cut.
    """

    def __init__(self, job: Job, worker: Worker, components: Components) -> None:
        self._job, self._worker = job, worker
        self._timesteps: int = components.scheduler.config.num_train_timesteps
        self._latents = open_latents(job)
        self._order = self._latents.order(job.seed)
        self._captions = torch.from_numpy(read_arrays(job.captions)["row"].copy())
        ((kind, text),) = read_arrays(job.text).items()
        self._text = torch.from_numpy(text.copy())
        self._encoder = None
        if kind == "tokens" and not job.settings.trains_text_encoder:
            self._encoder = components.text_encoder.eval().requires_grad_(False).to(worker.device)
        self._each = rank_rows(job.settings, worker.world)
        self._weights = self._weigh()
        self._source = self._choose()
        self.truncated_captions = int(json.loads(job.truncated.read_text(encoding="utf-8"))["captions"])

    def micro_batches(self, step: int, size: int) -> Iterator[tuple[Tensor, ...]]:
        """The arguments of `Denoiser.forward` for this rank's rows of a step, `size` rows at a time, on its device."""
        whole = drawn(self._job, self._latents, self._order, step, self._timesteps)
        batch = whole.part(self._worker.rank * self._each, (self._worker.rank + 1) * self._each)
        stored = self._source.take(step, batch.variant.numpy())
        latents = torch.from_numpy(stored["mean"])
        if batch.spread is not None:
            latents = latents + torch.from_numpy(stored["deviation"]) * batch.spread
        captions = self._captions[batch.indices]
        for start in range(0, self._each, size):
            rows = slice(start, start + size)
            text, within = look_up(self._text, captions[rows], batch.drop[rows])
            if self._encoder is not None:
                text = embed(self._encoder, text)
            given: tuple[Tensor, ...] = (latents[rows], batch.noise[rows], batch.timesteps[rows], text, within)
            if self._weights is not None:
                given = (*given, self._weights[rows])
            yield tuple(tensor.to(self._worker.device, non_blocking=True) for tensor in given)

    def _weigh(self) -> Tensor | None:
        """Times which this rank's rows count, where the ranks' shares hold more rows than a batch: the rest, not at all.

        The mean over all ranks' rows is then the batch's own.
        """
        batch, world = self._job.settings.batch, self._worker.world
        if world * self._each == batch:
            return None
        mine = self._worker.rank * self._each + torch.arange(self._each)
        return (mine < batch) * (world * self._each / batch)

    def _choose(self) -> Source:
        """A rank reads itself what it can hold whole, and whenever there is no Ray; a larger cache is streamed to it.

        Measured on two busy cores, 64 rows of 4 kB a step: a stream's first step comes 11 s later, each further one 0.4 ms
        later, and as long as it lasts its coordinator takes a sixth of a core, which training on CPUs would miss.
        """
        if isinstance(self._worker, RayWorker) and self._order.windows > 1:
            return Stream(self._job, self._worker, self._latents, self._timesteps, self._each)
        return Reader(self._latents, self._order, self._job.settings.batch, self._worker.rank, self._each)
