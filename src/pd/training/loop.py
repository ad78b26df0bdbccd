"""The one loop over steps of small networks: any task, any number of ranks, exact resumption."""

import copy
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from pd.config.training import TrainingSettings
from pd.errors import UserError
from pd.progress import Progress, silent
from pd.seeds import derive
from pd.store.kept import discard, keep_folder, there
from pd.training import checkpoint
from pd.training.batch_norm import over_ranks
from pd.training.divergence import LossWatch
from pd.training.precision import resolve
from pd.training.task import Alone, Batch, Facts, OwnSteps, Ranks, Task

FACTS = "facts.json"
LOOK_EVERY_ON_GPU = 10  # steps between two looks at the figures: each waits for the device

Value = TypeVar("Value")


def fit_here(
    task: Task, settings: TrainingSettings, work: Path, progress: Progress = silent, ranks: Ranks | None = None
) -> Path:
    """Train a task, or resume it, or find it finished.

    Args:
        task: what is trained.
        settings: how.
        work: folder for this and other trainings, on storage that all ranks share; this one's is `work / task.key`.
        progress: called after each step on rank 0; on a GPU after every tenth.
        ranks: the ranks that train together; by default this process alone.

    Returns:
        The folder that `task.export` filled, with `facts.json` beside what it wrote.

    Raises:
        UserError: the training diverged, or a checkpoint cannot be read; the same on every rank.
    """
    ranks = ranks or Alone()
    folder = work / task.key
    if on_first(ranks, lambda: finished(task, work)):
        return folder / "result"

    def begin() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        task.prepare(folder)

    on_first(ranks, begin)
    module, facts = fit_module(task, settings, folder / "checkpoints", progress, ranks)
    on_first(ranks, lambda: _finish(task, module, facts, folder))
    return folder / "result"


def finished(task: Task, work: Path) -> Path | None:
    """What `fit_here` returned for this task, if it did."""
    out = work / task.key / "result"
    return out if there(out) else None


def on_first(ranks: Ranks, work: Callable[[], Value]) -> Value:
    """Do something on rank 0 while the others wait, and give its value (small and picklable) to all.

    Raises:
        UserError: on every rank, when it was raised on the first.
    """
    value: Value | None = None
    refusal: UserError | None = None
    if ranks.rank == 0:
        try:
            value = work()
        except UserError as error:
            refusal = error
    value, refusal = ranks.barrier_agree((value, refusal))
    if refusal is not None:
        raise refusal
    return value


def _finish(task: Task, module: nn.Module, facts: Facts, folder: Path) -> None:
    with keep_folder(folder / "result") as aside:
        whole = {**facts, **task.export(module, aside)}
        (aside / FACTS).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    discard(folder / "checkpoints", must=False)


def fit_module(
    task: Task, settings: TrainingSettings, checkpoints: Path | None, progress: Progress, ranks: Ranks
) -> tuple[nn.Module, Facts]:
    """Take all steps that are left; the module with its averaged weights in evaluation mode, and facts.

    Args:
        task: prepared.
        settings: how it is trained.
        checkpoints: where checkpoints are kept; None: nowhere.
        progress: called after each step on rank 0; on a GPU after every tenth.
        ranks: the ranks that train together.

    Raises:
        UserError: the training diverged, or a checkpoint cannot be read.
    """
    cuda = [ranks.device] if ranks.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        return _Fit(task, settings, checkpoints, progress, ranks).run()


class _Fit:
    """One rank's run through the steps."""

    def __init__(
        self, task: Task, settings: TrainingSettings, checkpoints: Path | None, progress: Progress, ranks: Ranks
    ) -> None:
        precision = ranks.barrier_agree(resolve(settings.precision, ranks.device))
        self.settings = settings.model_copy(update={"precision": precision})
        self.task, self.checkpoints, self.progress, self.ranks = task, checkpoints, progress, ranks
        self.module = task.build().to(ranks.device)
        self.averaged = copy.deepcopy(self.module) if settings.ema else self.module
        if ranks.world > 1:
            self.module = over_ranks(self.module, ranks)
        if isinstance(task, OwnSteps):
            self.optimisers = dict(task.optimisers(self.module, self.settings))
        else:
            self.optimisers = {"": task.optimiser(self.module, self.settings)}
            self.rule = task.gradient_rule(self.settings)
        self.peaks = [group["lr"] for optimiser in self.optimisers.values() for group in optimiser.param_groups]
        self.losses = LossWatch(to_zero=task.watch == "to_zero")
        self.unseen: list[Tensor] = []  # figures that nobody has looked at yet, on the device
        self.look_every = 1 if ranks.device.type == "cpu" else LOOK_EVERY_ON_GPU
        self.start = self._resume()

    def run(self) -> tuple[nn.Module, Facts]:
        settings = self.settings
        self.module.train()
        for step in range(self.start, settings.steps):
            torch.manual_seed(derive(0, self.task.key, step, self.ranks.rank))
            figures = self._step(step)
            names = sorted(figures)
            self.unseen.append(torch.stack([figures[name].float() for name in names]))
            done = step + 1
            keep = self.checkpoints is not None and done % settings.checkpoint_every == 0 and done < settings.steps
            if keep or done % self.look_every == 0 or done == settings.steps:
                shown = dict(zip(names, self._look(done, names.index("loss")), strict=True))
                if self.ranks.rank == 0:
                    self.progress(done, settings.steps, shown)
            if keep and self.ranks.rank == 0 and not self.losses.rising:
                self._save(done)
        if settings.ema:
            self.module = self.averaged
        if not all(bool(torch.isfinite(value).all()) for value in self.module.parameters()):
            raise self._diverged(f"after step {settings.steps} there are weights that are not finite")
        return self.module.eval(), {"steps": settings.steps, "loss": self.losses.mean if self.losses.recent else None}

    def _step(self, step: int) -> Mapping[str, Tensor]:
        """One step; this rank's figures."""
        task, ranks = self.task, self.ranks
        factor = task.rate(self.settings, step)
        groups = [group for optimiser in self.optimisers.values() for group in optimiser.param_groups]
        for group, peak in zip(groups, self.peaks, strict=True):
            # Where a group has the settings' rate it gets the step's as it is: a quotient of two would round.
            same = peak == self.settings.learning_rate
            group["lr"] = factor if same else peak * (factor / self.settings.learning_rate)
        given = task.batch(step, ranks.rank, ranks.world)
        batch: Batch = {name: value.to(ranks.device, non_blocking=True) for name, value in given.items()}
        if isinstance(task, OwnSteps):
            figures = task.take_step(self.module, batch, step, self.optimisers, ranks)
        else:
            (optimiser,) = self.optimisers.values()
            optimiser.zero_grad(set_to_none=True)
            figures = self.rule.gradients(task, self.module, batch, step, ranks)
            optimiser.step()
        if self.settings.ema:
            _average(self.averaged, self.module, self.settings.ema, step)
        task.after_step(self.module, step)
        return figures

    def _look(self, done: int, loss: int) -> list[float]:
        """Bring the figures since the last look home, averaged over ranks, and stop if they are lost; the last step's."""
        figures = torch.stack(self.unseen)
        self.unseen.clear()
        self.ranks.mean_([figures])
        rows = figures.tolist()
        for step, row in enumerate(rows, start=done - len(rows) + 1):
            if not math.isfinite(row[loss]):
                raise self._diverged(f"the loss of step {step} is {row[loss]}")
            self.losses.add(row[loss])
            if self.task.watch != "no" and self.losses.diverged:
                raise self._diverged(f"by step {step} most losses are above {self.losses.limit:.3g}")
        last: list[float] = rows[-1]
        return last

    def _diverged(self, what: str) -> UserError:
        return UserError(
            f"training diverged: {what}",
            code="diverged",
            where=f"learning_rate = {self.settings.learning_rate:g}",
            fix="lower learning_rate or clip_norm, or lengthen warmup",
        )

    def _save(self, done: int) -> None:
        assert self.checkpoints is not None
        parts = {"module/": self.module.state_dict(), "extra/": dict(self.task.extra_state())}
        if self.settings.ema:
            parts["average/"] = self.averaged.state_dict()
        for name, optimiser in self.optimisers.items():
            parts[f"optimiser{name and '.'}{name}/"] = checkpoint.optimiser_tensors(optimiser, self.module)
        tensors = {prefix + name: value for prefix, part in parts.items() for name, value in part.items()}
        state = {"losses": self.losses.state(), "precision": self.settings.precision}
        checkpoint.save(self.checkpoints, done, tensors, state)

    def _resume(self) -> int:
        """Steps that the last checkpoint has behind it, whose state is ours now; 0: there is none."""
        found = checkpoint.load(self.checkpoints, self.ranks) if self.checkpoints is not None else None
        if found is None:
            return 0
        tensors, state = found
        self.losses.load(state["losses"])
        # What two machines would each choose for themselves stays as it was begun.
        self.settings = self.settings.model_copy(update={"precision": state["precision"]})
        if not isinstance(self.task, OwnSteps):
            self.rule = self.task.gradient_rule(self.settings)
        self.module.load_state_dict(_under(tensors, "module/"))
        if self.settings.ema:
            self.averaged.load_state_dict(_under(tensors, "average/"))
        for name, optimiser in self.optimisers.items():
            checkpoint.load_optimiser(optimiser, self.module, _under(tensors, f"optimiser{name and '.'}{name}/"))
        self.task.load_extra_state(_under(tensors, "extra/"))
        return int(state["done"])


@torch.no_grad()
def _average(averaged: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Take the weights into the average, with decay min(decay, (1 + s) / (10 + s)); buffers are copied."""
    kept = min(decay, (1 + step) / (10 + step))
    means: list[Tensor] = list(averaged.parameters())
    torch._foreach_lerp_(means, [value.detach() for value in module.parameters()], 1.0 - kept)
    for held, new in zip(averaged.buffers(), module.buffers(), strict=True):
        held.copy_(new)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
