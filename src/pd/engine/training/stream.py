"""Latents as a stream: one feeder reads the cache in the order of training, and Ray Data deals each rank its share.

Rank 0 starts it: a `streaming_split` of blocks in order, block j being what rank j % world sees in the (j // world)-th chunk
of consecutive steps. Blocks of a chunk are of equal size, so Ray deals them in turn (its `OutputSplitter` gives the next
block to the output with the fewest rows so far, the first of equals). As no document of Ray's promises that, every row
tells its position in the order of training, and a rank refuses one that it did not expect.

Ray's plan of a stream lists all of its blocks, so a long training has several streams, one after the other.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pd.diffusion.latents import Floats, Latents
from pd.diffusion.order import Rows, share
from pd.diffusion.tensor_table import from_table, to_table
from pd.engine.training.definition import Job
from pd.engine.training.step_inputs import drawn, open_latents
from pd.engine.training.worker import Worker

BLOCK_BYTES = 2**22  # about: one block is used while the next is on its way
BLOCKS = 2048  # of a stream, and at least CHUNKS for each rank
CHUNKS = 64
AHEAD = 2  # batches that a rank fetches before it needs them


@dataclass(frozen=True)
class Part:
    """The steps that a stream covers, and how they are cut into blocks.

    Attributes:
        start, stop: steps.
        chunk: steps of a block; the last ones may have fewer.
        world: ranks.
        batch: rows of a step, over all ranks.
        each: rows of each rank, as `share` counts them.
    """

    start: int
    stop: int
    chunk: int
    world: int
    batch: int
    each: int

    @classmethod
    def starting(cls, step: int, steps: int, *, world: int, batch: int, each: int, row_bytes: int) -> "Part":
        """A stream from a step on, to the last or as far as its blocks are few enough."""
        chunk = max(1, BLOCK_BYTES // (each * row_bytes))
        return cls(step, min(steps, step + chunk * max(BLOCKS // world, CHUNKS)), chunk, world, batch, each)

    @property
    def blocks(self) -> int:
        """How many there are: as many for each rank."""
        return -(-(self.stop - self.start) // self.chunk) * self.world

    def steps_of(self, block: int) -> range:
        """The steps that a block has rows of."""
        first = self.start + block // self.world * self.chunk
        return range(first, min(first + self.chunk, self.stop))


class Feeder:
    """The actor that reads: makes blocks one after the other, and holds the windows of the cache that they lie in.

    Args:
        job: with a finished cache.
        part: what it is asked for.
        timesteps: length of the noise schedule, on which the draws of a step depend.
    """

    def __init__(self, job: Job, part: Part, timesteps: int) -> None:
        self._job, self._part, self._timesteps = job, part, timesteps
        self._latents = open_latents(job)
        self._order = self._latents.order(job.seed)

    def __call__(self, asked: dict[str, np.ndarray]) -> pa.Table:
        """The rows of a block: `position`, and latents as `Latents.take` gives them."""
        (block,) = asked["block"].tolist()
        rank = block % self._part.world
        steps = self._part.steps_of(block)
        positions = np.concatenate([share(step, self._part.batch, rank, self._part.each) for step in steps])
        variants = np.concatenate([self._variants(step, rank) for step in steps])
        return to_table({"position": positions, **self._latents.take(self._order, positions, variants)})

    def _variants(self, step: int, rank: int) -> Rows:
        each = self._part.each
        if self._latents.variants == 1:
            return np.zeros(each, np.int64)
        batch = drawn(self._job, self._latents, self._order, step, self._timesteps)
        return batch.part(rank * each, (rank + 1) * each).variant.numpy()


class Stream:
    """A rank's end of the streams of a training. All ranks ask for the same steps, in turn.

    Args:
        job: with a finished cache.
        worker: this rank.
        latents: the cache, of which only the shape is read here.
        timesteps: length of the noise schedule.
        each: rows of each rank in a step.
    """

    def __init__(self, job: Job, worker: Worker, latents: Latents, timesteps: int, each: int) -> None:
        self._job, self._worker, self._latents, self._timesteps, self._each = job, worker, latents, timesteps, each
        self._part: Part | None = None
        self._tables: Iterator[pa.Table] = iter(())

    def take(self, step: int, variants: Rows) -> dict[str, Floats]:
        """This rank's latents of a step; the feeder draws the same variants.

        Raises:
            RuntimeError: Ray dealt rows in another order.
        """
        if self._part is None or step == self._part.stop:
            self._open(step)
        found = from_table(next(self._tables))
        due = share(step, self._job.settings.batch, self._worker.rank, self._each)
        got = found.pop("position")
        if not np.array_equal(got, due):
            raise RuntimeError(
                f"the stream of latents is out of order: rank {self._worker.rank} of {self._worker.world} got position "
                f"{got[:1]} in step {step} where {due[:1]} was due"
            )
        return {kind: array.copy() for kind, array in found.items()}  # out of Ray's store, where nobody may write

    def _open(self, step: int) -> None:
        """Start the next stream, on rank 0, and tell the others of it."""
        batch, world = self._job.settings.batch, self._worker.world
        row_bytes = 4 * int(np.prod(self._latents.shape)) * len(self._latents.kinds)
        part = Part.starting(step, self._job.settings.steps, world=world, batch=batch, each=self._each, row_bytes=row_bytes)
        ends = self._worker.agree(_start(self._job, part, self._timesteps) if self._worker.rank == 0 else None)
        batches = ends[self._worker.rank].iter_batches(batch_size=self._each, batch_format="pyarrow", prefetch_batches=AHEAD)
        self._part, self._tables = part, iter(batches)


def _start(job: Job, part: Part, timesteps: int) -> Any:
    """Rank 0's doing: the ends of a new stream, one for each rank."""
    import ray.data
    from ray.data import ActorPoolStrategy, DataContext

    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    blocks = ray.data.from_items([{"block": block} for block in range(part.blocks)], override_num_blocks=part.blocks)
    rows = blocks.map_batches(
        Feeder,
        fn_constructor_kwargs={"job": job, "part": part, "timesteps": timesteps},
        compute=ActorPoolStrategy(size=1),
        num_cpus=0,  # training workers may hold every CPU, and then nothing that asks for one would ever start
        batch_format="numpy",
    )
    return rows.streaming_split(part.world, equal=True)
