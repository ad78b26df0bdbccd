"""The one loop over steps of small networks: any task, any number of ranks, exact resumption."""

import copy
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pd.config.training import TrainingSettings
from pd.errors import UserError
from pd.progress import Progress, silent
from pd.store.atomic import write_folder
from pd.training import checkpoint
from pd.training.rates import rate
from pd.training.task import Alone, Facts, Ranks, Task

FACTS = "facts.json"


def fit_here(
    task: Task, settings: TrainingSettings, work: Path, progress: Progress = silent, ranks: Ranks | None = None
) -> Path:
    """Train a task, or resume it, or find it finished.

    Args:
        task: what is trained.
        settings: how.
        work: folder for this and other trainings; this one's is `work / task.key`.
        progress: called after each step on rank 0.
        ranks: the ranks that train together; by default this process alone.

    Returns:
        The folder that `task.export` filled, with `facts.json` beside what it wrote.

    Raises:
        UserError: the training diverged, or a checkpoint cannot be read.
    """
    ranks = ranks or Alone()
    folder = work / task.key
    out = folder / "result"
    if out.exists():
        return out
    if ranks.rank == 0:
        folder.mkdir(parents=True, exist_ok=True)
        task.prepare(folder)
    ranks.barrier_agree(None)
    module, facts = fit_module(task, settings, folder / "checkpoints", progress, ranks)
    if ranks.rank == 0:
        with write_folder(out) as aside:
            facts |= task.export(module, aside)
            (aside / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    ranks.barrier_agree(None)
    return out


def fit_module(
    task: Task, settings: TrainingSettings, checkpoints: Path | None, progress: Progress, ranks: Ranks
) -> tuple[nn.Module, Facts]:
    """Take all steps that are left; the module with its averaged weights in evaluation mode, and facts.

    Args:
        task: prepared.
        settings: how it is trained.
        checkpoints: where checkpoints are kept; None: nowhere.
        progress: called after each step on rank 0.
        ranks: the ranks that train together.
    """
    module = task.build().to(ranks.device)
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    optimiser = _optimiser(settings, list(trained.values()))
    averaged = copy.deepcopy(module) if settings.ema else module
    start, losses = 0, list[float]()
    if checkpoints is not None and (found := checkpoint.load(checkpoints)):
        tensors, state = found
        start, losses = int(state["done"]), list(state["losses"])
        module.load_state_dict(_under(tensors, "module/"))
        checkpoint.load_optimiser(optimiser, module, _under(tensors, "optimiser/"))
        if settings.ema:
            averaged.load_state_dict(_under(tensors, "average/"))
        task.load_extra_state(_under(tensors, "extra/"))
    module.train()
    for step in range(start, settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(settings, step)
        optimiser.zero_grad(set_to_none=True)
        figures = _backward(task, module, step, settings, ranks)
        gradients = [parameter.grad for parameter in trained.values() if parameter.grad is not None]
        ranks.mean_(gradients)
        if settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(trained.values(), settings.clip_norm)
        optimiser.step()
        if settings.ema:
            _average(averaged, module, settings.ema, step)
        task.after_step(module, step)
        shown = {name: float(value) for name, value in figures.items()}
        losses = [*losses[-99:], shown["loss"]]
        if not math.isfinite(shown["loss"]):
            raise UserError(
                f"training diverged: the loss of step {step + 1} is {shown['loss']}",
                where=f"learning_rate = {settings.learning_rate:g}",
                fix="lower learning_rate",
            )
        done = step + 1
        if checkpoints is not None and done % settings.checkpoint_every == 0 and done < settings.steps and ranks.rank == 0:
            tensors = _state(module, optimiser, averaged if settings.ema else None, task)
            checkpoint.save(checkpoints, done, tensors, {"losses": losses})
        if ranks.rank == 0:
            progress(done, settings.steps, shown)
    facts: Facts = {"steps": settings.steps, "loss": sum(losses) / len(losses) if losses else None}
    return averaged.eval(), facts


def _backward(task: Task, module: nn.Module, step: int, settings: TrainingSettings, ranks: Ranks) -> Mapping[str, Tensor]:
    """One forward and backward; figures averaged over ranks, detached."""
    batch = {name: value.to(ranks.device) for name, value in task.batch(step, ranks.rank, ranks.world).items()}
    with torch.autocast(ranks.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
        figures = dict(task.loss(module, batch, step, ranks))
    figures["loss"].backward()  # type: ignore[no-untyped-call]
    detached = {name: value.detach().float().clone() for name, value in figures.items()}
    ranks.mean_(detached.values())
    return detached


def _optimiser(settings: TrainingSettings, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if settings.optimiser == "sgd":
        return torch.optim.SGD(
            parameters, settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
    return torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay)


@torch.no_grad()
def _average(averaged: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Take the weights into the average, with decay min(decay, (1 + s) / (10 + s)); buffers are copied."""
    kept = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(averaged.parameters(), module.parameters(), strict=True):
        mean.lerp_(value, 1.0 - kept)
    for held, new in zip(averaged.buffers(), module.buffers(), strict=True):
        held.copy_(new)


def _state(module: nn.Module, optimiser: torch.optim.Optimizer, averaged: nn.Module | None, task: Task) -> dict[str, Tensor]:
    parts = {"module/": module.state_dict(), "optimiser/": checkpoint.optimiser_tensors(optimiser, module)}
    if averaged is not None:
        parts["average/"] = averaged.state_dict()
    parts["extra/"] = dict(task.extra_state())
    return {prefix + name: value for prefix, part in parts.items() for name, value in part.items()}


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
