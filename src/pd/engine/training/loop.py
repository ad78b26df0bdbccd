"""The training loop, as every rank runs it."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from pd.diffusion.adapter import merge
from pd.diffusion.components import Components
from pd.diffusion.denoiser import Denoiser
from pd.diffusion.export import export
from pd.engine.training.batch_loader import Feed
from pd.engine.training.checkpoint import Checkpoint
from pd.engine.training.definition import Job, snapshot_of
from pd.engine.training.engine import TrainEngine, take_weights
from pd.engine.training.failures import out_of_memory
from pd.engine.training.generalise import LookedAt, look_at, looks_in
from pd.engine.training.inputs import prepare
from pd.engine.training.micro_batch import find_micro_batch
from pd.engine.training.prepare_model import rebuild
from pd.engine.training.progress_file import ProgressWriter, Tell
from pd.engine.training.samples import sample_grid, write_picture
from pd.engine.training.tracking import Tracker
from pd.engine.training.usage import Watch, memory_used, watch
from pd.engine.training.worker import Worker
from pd.errors import UserError
from pd.seeds import derive
from pd.store.kept import at_hand, discard, keep, keep_folder, keep_json
from pd.training.divergence import LossWatch
from pd.training.precision import resolve

LOOK_EVERY_ON_GPU = 10  # steps between two looks at the loss: each waits for the device
NOTICE_EVERY = 10  # steps between two looks for a notice that a machine will be taken away: all ranks wait for each other
NOTICE_S = 5.0  # or, where steps are long, about so many seconds: clouds give 30 to 120

WARM = 2  # steps after which the time of a step is first looked at; those take longer than others

Value = TypeVar("Value")


def train_loop(job: Job, worker: Worker, tell: Tell | None = None) -> UserError | None:
    """Train from the last checkpoint, if any, to the end; rank 0 then writes the averaged weights.

    Args:
        job: what to train.
        worker: this rank.
        tell: called on rank 0 with each record of progress.

    Returns:
        What the user did wrong, if anything, the same on every rank. It is not raised, because Ray would start the
        workers again to fail again.
    """
    os.environ.setdefault("DS_ACCELERATOR", worker.device.type)
    if worker.rank == 0:
        for path in job.watched:
            at_hand(path)
    tracker = Tracker(job, job.tracking) if worker.rank == 0 and job.tracking else None
    log = ProgressWriter(job.progress if worker.rank == 0 else None, job.tensorboard, tell, tracker)
    finished = False
    try:
        checkpoint = _last_checkpoint(job, worker)
        # Also where machines differ: within one attempt, and from one attempt to the next.
        before = checkpoint.client.get("precision") if checkpoint else None
        precision = before or worker.agree(resolve(job.settings.precision, worker.device))
        job = replace(job, settings=job.settings.model_copy(update={"precision": precision}))
        components = _on_first(worker, lambda: prepare(job, worker.device, log)) or rebuild(job)
        _Training(job, worker, components, log, checkpoint).run()
        finished = True
    except UserError as error:
        return error
    except RuntimeError as error:
        # One rank of several must raise it: only then does Ray know, and end the others, which wait for this one.
        if worker.world == 1 and (refusal := out_of_memory(error)):
            return refusal
        raise
    finally:
        log.close(finished)
        _keep_watched(job, worker)
    return None


def _keep_watched(job: Job, worker: Worker) -> None:
    """Bring what is only looked at to the bucket, where there is one; that it cannot be reached ends no training."""
    if worker.rank == 0:
        with contextlib.suppress(UserError):
            keep(*job.watched)


def _on_first(worker: Worker, work: Callable[[], Value]) -> Value | None:
    """Do something on rank 0 while the others wait; a UserError there is raised on every rank."""
    value = refusal = None
    if worker.rank == 0:
        try:
            value = work()
        except UserError as error:
            refusal = error
    refusal = worker.agree(refusal)
    if refusal is not None:
        raise refusal
    return value


def _looks_every(seconds: float) -> int:
    """Steps between two looks for a notice, where a step takes so many seconds."""
    return max(1, min(NOTICE_EVERY, int(NOTICE_S / max(seconds, 1e-9))))


def _last_checkpoint(job: Job, worker: Worker) -> Checkpoint | None:
    folder = worker.latest()
    if folder is None:
        return None
    checkpoint = Checkpoint(folder)
    if checkpoint.client["job"] != job.folder.name:
        raise checkpoint.broken("is of a training with other settings or images")
    return checkpoint


class _Training:
    """One rank's run through the steps."""

    def __init__(
        self, job: Job, worker: Worker, components: Components, log: ProgressWriter, checkpoint: Checkpoint | None
    ) -> None:
        self.job, self.settings, self.worker, self.components, self.log = job, job.settings, worker, components, log
        denoiser = Denoiser(components, self.settings)
        if checkpoint is not None:
            take_weights(denoiser, checkpoint)
        self.watch: Watch | None = None
        if worker.rank == 0:
            self.watch = watch(components, denoiser, self.settings, worker.device, worker.world)
        self.micro = find_micro_batch(denoiser, self.settings, worker.world, worker.device)
        self.engine = TrainEngine(denoiser, self.settings, self.micro, worker.device)
        self.feed = Feed(job, worker, components)
        if worker.rank:  # the first rank exports; the others need the memory
            del components.vae, components.text_encoder
        self.losses = LossWatch()
        self.memory: list[float] = []  # the largest rank's peak, GB: the device's, the machine's
        self.unseen: list[Tensor] = []  # losses that nobody has looked at yet, on the device
        self.saved = 0  # steps that the last checkpoint has behind it; 0: there is none
        self.look_every = 1 if worker.device.type == "cpu" else LOOK_EVERY_ON_GPU
        if checkpoint is not None:
            self._resume(checkpoint)

    def run(self) -> None:
        """Take all steps that are left, then export."""
        start = self.saved
        steps, every = self.settings.steps, self.settings.checkpoint_every
        begin = time.monotonic()
        if self.watch:
            self.watch.start()
        timed, notice_every = time.monotonic(), NOTICE_EVERY
        if self.settings.stop == "generalises" and not start:
            self._snapshot(0)  # what the first checkpoint has learned is told by the model before it
        for step in range(start, start if self._remembers(start) else steps):
            self.unseen.append(self._step(step))
            done = step + 1
            if done - start in (WARM, NOTICE_EVERY):
                before, timed = timed, time.monotonic()
                taken = WARM if done - start == WARM else NOTICE_EVERY - WARM
                notice_every = self.worker.agree(_looks_every((timed - before) / taken))
            keep = done == steps or done % every == 0 or (done % notice_every == 0 and self.worker.told_to_leave())
            if keep or done % self.look_every == 0:
                self._look(done)
            ended = False
            if self.settings.stop != "steps" and (done == steps or done % every == 0):
                self._snapshot(done)  # before the checkpoint: who resumes from that one finds it
                ended = self._remembers(done)
            if keep and not self.losses.rising:
                self._checkpoint(done)
            if self.settings.samples_every and done % self.settings.samples_every == 0:
                self._sample(done)
            if self.watch and self.memory and (self.log.due() or done == steps):
                self._report(done, self.watch)
            if ended:
                break
        speed = (steps - start) * self.settings.batch / (time.monotonic() - begin) if steps > start else None
        weights = self.engine.averaged()
        _on_first(self.worker, lambda: self._finish(weights, speed))

    def _resume(self, checkpoint: Checkpoint) -> None:
        self.saved = int(checkpoint.client["step"])
        self.losses.load(checkpoint.client["losses"])
        self.engine.load(checkpoint, self.saved)
        self.log.write(self.saved, self.settings.steps, phase="resumed")

    def _step(self, step: int) -> Tensor:
        """One optimiser step on this rank's rows of the global batch; returns the mean loss over them."""
        self.engine.begin(step)
        losses, captions = [], 0
        for given in self.feed.micro_batches(step, self.micro):
            captions += len(given[3])
            losses.append(self.engine.micro_step(*given))
        self.engine.end(step)
        if self.watch:
            self.watch.step(captions)
        return torch.stack(losses).mean()

    def _look(self, done: int) -> None:
        """Bring the losses since the last look home, averaged over ranks, and stop if they are lost.

        With them comes the memory of every rank, each in its own place of a vector of zeros: one exchange for both.
        """
        losses = torch.stack(self.unseen)
        self.unseen.clear()
        memory = losses.new_zeros(self.worker.world, 2)
        memory[self.worker.rank] = losses.new_tensor(memory_used(self.worker.device))
        if self.worker.world > 1:
            both = torch.cat([losses, memory.flatten()])
            distributed.all_reduce(both)
            losses, memory = both[: len(losses)] / self.worker.world, both[len(losses) :].view_as(memory)
        self.memory = memory.amax(0).tolist()
        first = done - len(losses) + 1
        for step, value in enumerate(losses.tolist(), start=first):
            if value != value or value in (float("inf"), float("-inf")):
                raise self._diverged(f"the loss of step {step} is {value}")
            self.losses.add(value)
            if self.losses.diverged:
                raise self._diverged(
                    f"by step {step} most losses are above {self.losses.limit:.3g}, three times the lowest mean of 100 steps"
                )

    def _checkpoint(self, done: int) -> None:
        """Keep a checkpoint, unless the weights are spoilt: a finite loss can have a gradient that is not."""
        spoilt = torch.tensor(0.0 if self.engine.finite() else 1.0, device=self.worker.device)
        if self.worker.world > 1:
            distributed.all_reduce(spoilt)
        if spoilt.item():
            raise self._diverged(f"after step {done} there are weights that are not finite")
        client = {"job": self.job.folder.name, "step": done, "losses": self.losses.state()}
        client["precision"] = self.settings.precision
        self.worker.checkpoint(done, lambda folder: self.engine.save(folder, client))
        self.saved = done
        _keep_watched(self.job, self.worker)

    def _diverged(self, what: str) -> UserError:
        kept = f"the last good checkpoint is that of step {self.saved}" if self.saved else "there is no checkpoint yet"
        return UserError(
            f"training diverged: {what}; {kept}",
            code="diverged",
            where=f"learning_rate = {self.settings.learning_rate:g}",
            fix="lower learning_rate or clip_norm, or lengthen warmup",
        )

    def _report(self, done: int, watch: Watch) -> None:
        figures: dict[str, Any] = {
            "loss": self.losses.mean,
            "loss_step": self.losses.recent[-1],  # of this step; on a GPU, of the newest that was looked at
            "learning_rate": self.engine.rate(done - 1),
            "gradient_norm": self.engine.gradient_norm(),
            **watch.figures(),
            "memory_gb": self.memory[0],
        }
        if self.worker.device.type == "cuda":
            figures["host_memory_gb"] = self.memory[1]
        self.log.write(done, self.settings.steps, **figures)

    def _sample(self, done: int) -> None:
        """Write samples of the averaged weights, which all ranks gather and rank 0 samples. The training stays as it is."""
        weights = self.engine.averaged()
        if self.worker.rank != 0:
            return
        # At ZeRO stage 3 what is not trained lies in parts on all ranks; nothing has changed it since it was built.
        held = self.engine.engine.module.named_parameters()
        whole = all(name in weights or parameter.numel() > 0 for name, parameter in held)
        try:
            grid = sample_grid(
                self.components if whole else rebuild(self.job),
                weights,
                self.settings,
                mode=self.job.data.mode,
                prompts=self.job.prompts,
                seed=derive(self.job.seed, "samples"),
                device=self.worker.device,
            )
        except (UserError, torch.OutOfMemoryError) as error:  # nothing that is only looked at may end a training
            self.log.write(done, self.settings.steps, samples=f"failed ({type(error).__name__})")
            return
        write_picture(self.job.samples / f"step_{done:08d}.png", grid)
        self.log.picture(done, grid)

    def _snapshot(self, done: int) -> None:
        """Write the model as it is now, with averaged weights, for who chooses among the steps; the training stays as it is."""
        weights, folder = self.engine.averaged(), snapshot_of(self.job.snapshots, done)
        if self.worker.rank == 0 and not folder.exists():
            components = rebuild(self.job)
            _put(weights, components)
            with keep_folder(folder) as aside:
                export(components, aside)

    def _remembers(self, done: int) -> bool:
        """Whether the training ends here, or has ended before, by the losses of those who are looked at."""
        if self.settings.stop != "generalises":
            return False
        found = False
        if self.worker.rank == 0:
            looks = looks_in(self.job.looks)
            folder = snapshot_of(self.job.snapshots, done)
            if folder.exists() and not (looks and looks[-1].step >= done):
                seen, seed = LookedAt.receive(self.job.looked_at), derive(self.job.seed, "gap")
                looks.append(look_at(folder, done, seen, self.job.looks, seed, self.worker.device))
                discard(*sorted(self.job.snapshots.iterdir())[:-2])  # one of the last two is taken
            found = any(one.remembers for one in looks)
        return bool(self.worker.agree(found))

    def _finish(self, weights: dict[str, Tensor], speed: float | None) -> None:
        """Put the averaged weights into the model, merge what LoRA added, and write it; then the facts."""
        frozen = any(not parameter.requires_grad for parameter in self.engine.engine.module.parameters())
        # At ZeRO stage 3 the frozen weights are in parts, one on each rank; nothing has changed them.
        components = rebuild(self.job) if frozen else self.components
        _put(weights, components)
        with keep_folder(self.job.model) as folder:
            export(components, folder)
        facts = {
            "steps": self.settings.steps,
            "loss": self.losses.mean,
            "parameters": sum(value.numel() for value in weights.values()),
            "precision": self.settings.precision,
            "images_per_s": speed,
            "memory_gb": self.memory[0] if self.memory else None,
            **(self.watch.facts() if self.watch else {}),
        }
        if self.feed.truncated_captions:
            facts["truncated_captions"] = self.feed.truncated_captions
        keep_json(self.job.facts, facts)


def _put(weights: Mapping[str, Tensor], components: Components) -> None:
    """Put averaged weights into a model, and merge what LoRA added."""
    parts = {"unet": components.unet, "text_encoder": components.text_encoder}
    for name, value in weights.items():
        part, _, inner = name.partition(".")
        # The tensor, not its content: at ZeRO stage 3 the parameter in place is an empty one.
        parts[part].get_parameter(inner).data = value
    for module in parts.values():
        merge(module)
