"""DP-SGD of a denoiser (Abadi et al., arXiv 1607.00133; for diffusion Dockhorn et al., arXiv 2210.09929).

A step draws people by Poisson sampling, several noise levels for each, clips the gradient of each person's mean loss, adds
noise to the sum, and divides by the expected number of people, which is public. All that a step draws follows from
(key, step), so a killed training resumes as if it had not been, and nothing is counted twice.

It is a task of the one trainer with a gradient rule of its own. The rule reports no loss: a loss of private data is no event
of the ledger.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pd.config.training import TrainingSettings
from pd.diffusion.components import Components
from pd.diffusion.objective import add_noise, row_errors
from pd.diffusion.randomness import Purpose, stream
from pd.diffusion.schedule import alphas
from pd.dp.noise import NoiseSource
from pd.errors import UserError
from pd.formal.clipped import ClippedSum, NoisedSum, PersonGradients
from pd.formal.people import People
from pd.formal.plan import Plan
from pd.progress import Progress, silent
from pd.store.atomic import write_json
from pd.training.loop import fit_here
from pd.training.ranks import Ranks
from pd.training.task import Batch, Facts, Task

Fit = Callable[[Task, TrainingSettings, Path, Progress], Path]
"""Takes all steps of a task: in this process, or on Ray Train workers."""

_WEIGHTS = "unet.safetensors"


@dataclass(frozen=True)
class How:
    """What changes a private training's result but not its privacy.

    Attributes:
        seed: of noise levels and pictures of a person.
        learning_rate: AdamW's without decay, constant.
        ema: decay of the averaged weights.
        micro_batch: people a forward.
        caption_dropout: share of captions dropped.
        gamma: of min-SNR weighting.
        checkpoint_every: steps.
        workers: Ray Train workers; 0: in this process.
    """

    seed: int
    learning_rate: float = 5e-4
    ema: float = 0.98
    micro_batch: int = 64
    caption_dropout: float = 0.1
    gamma: float | None = 5.0
    checkpoint_every: int = 20
    workers: int = 0


class PrivateTask(Task):
    """A task whose gradients come from `fill` alone: clipped by person, summed over ranks, noised."""

    watch = "no"

    def batch(self, step: int, rank: int, world: int) -> Batch:
        """Nothing: the rule draws people itself, and none but it sees them."""
        return {}

    def loss(self, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        raise NotImplementedError("private gradients come from the rule alone")

    def gradient_rule(self, settings: TrainingSettings) -> "NoisedGradient":
        return NoisedGradient(self)

    def fill(self, module: nn.Module, step: int, ranks: Ranks) -> None:
        """The step's noised mean gradient, where the optimiser reads it: the same whatever the number of ranks."""
        raise NotImplementedError


class PrivateDenoising(PrivateTask):
    """The objective on people, and the noised sum of a step.

    Args:
        components: the model; of its UNet the parameters with `requires_grad` are trained.
        people: the members.
        text: (C + 1, L, d) embeddings, row 0 of the empty caption, row c + 1 of caption c.
        plan: rate, clip, draws and noise.
        how: the rest.
        source: of people and noise.
    """

    key = "private"

    def __init__(self, components: Components, people: People, text: Tensor, plan: Plan, how: How, source: NoiseSource) -> None:
        self._unet: nn.Module = components.unet
        self._people, self._text, self._plan, self._how, self._source = people, text, plan, how, source
        self._alphas = alphas(components.scheduler)
        self._prediction = components.scheduler.config.prediction_type

    def build(self) -> nn.Module:
        return copy.deepcopy(self._unet)

    def export(self, module: nn.Module, folder: Path) -> Facts:
        save_file({name: value.contiguous() for name, value in module.state_dict().items()}, folder / _WEIGHTS)
        return {}

    def noised_sum(self, module: nn.Module, step: int, ranks: Ranks) -> NoisedSum:
        """A step's released gradient: a function of (key, step, weights), whatever the number of ranks."""
        drawn = torch.from_numpy(self._source.poisson_sample(len(self._people), self._plan.rate, "people", step))
        draws, shape = self._plan.draws, self._people.latents.shape[1:]
        rng = stream(self._how.seed, Purpose.STEP, step)
        which = torch.from_numpy(rng.random((len(drawn), draws)))
        times = torch.from_numpy(rng.integers(0, len(self._alphas), (len(drawn), draws)))
        drop = torch.from_numpy(rng.random((len(drawn), draws)) < self._how.caption_dropout)
        seeds = rng.integers(0, 2**62, len(drawn))
        images = self._people.rows(drawn, which)
        total, gradients = ClippedSum(module, self._plan.clip), PersonGradients(module)
        for part in torch.split(torch.arange(ranks.rank, len(drawn), ranks.world), self._how.micro_batch):
            if not len(part):
                continue
            noise = np.stack(
                [np.random.default_rng(s).standard_normal((draws, *shape), dtype=np.float32) for s in seeds[part.numpy()]]
            )
            rows = (images[part].flatten(), torch.from_numpy(noise).flatten(0, 1), times[part].flatten(), drop[part].flatten())

            def losses(rows: tuple[Tensor, Tensor, Tensor, Tensor] = rows) -> Tensor:
                return self.losses(module, *rows)

            gradients.add(total, losses, len(part))
        total.over_ranks(ranks)
        return total.noised(self._plan.noise, self._source, step)

    def fill(self, module: nn.Module, step: int, ranks: Ranks) -> None:
        self.noised_sum(module, step, ranks).fill(module, self._plan.expected)

    def losses(self, module: nn.Module, rows: Tensor, noise: Tensor, times: Tensor, drop: Tensor | None = None) -> Tensor:
        """(R,) weighted squared errors of rows of the people's latents; private."""
        device = next(module.parameters()).device
        latents, words = self._people.latents[rows], self._people.captions[rows] + 1
        text = self._text[words if drop is None else words.masked_fill(drop, 0)]
        noisy = add_noise(latents, noise, times, self._alphas)
        predicted = module(noisy.to(device), times.to(device), text.to(device)).sample
        how = {"alphas": self._alphas.to(device), "prediction": self._prediction, "gamma": self._how.gamma}
        return row_errors(predicted, latents.to(device), noise.to(device), times.to(device), **how)


class NoisedGradient:
    """The gradient rule: clipped by person, summed over ranks, noised; nothing else reaches the optimiser.

    Args:
        task: draws and losses.
    """

    def __init__(self, task: PrivateTask) -> None:
        self._task = task

    def gradients(self, task: Task, module: nn.Module, batch: Batch, step: int, ranks: Ranks) -> Mapping[str, Tensor]:
        """Fill `grad`; the loss that is reported is 0, for the true one is private."""
        self._task.fill(module, step, ranks)
        return {"loss": torch.zeros((), device=ranks.device)}


def train_privately(
    components: Components,
    people: People,
    text: Tensor,
    plan: Plan,
    how: How,
    source: NoiseSource,
    work: Path,
    progress: Progress = silent,
    fit: Fit = fit_here,
) -> None:
    """Take all private steps that are left; the components' UNet then holds the averaged weights.

    Args:
        components: the model, warmed up; trained in place.
        people: the members.
        text: as for `PrivateDenoising`.
        plan: the noise, and what it costs; it must be in the ledger before this is called.
        how: the rest.
        source: of people and noise.
        work: checkpoints, private.
        progress: told of steps; never of losses.
        fit: the trainer.

    Raises:
        UserError: a checkpoint of another plan lies in `work`.
    """
    same_plan(work, plan)
    task = PrivateDenoising(components, people, text, plan, how, source)
    settings = TrainingSettings(
        steps=plan.steps,
        learning_rate=how.learning_rate,
        weight_decay=0.0,
        schedule="constant",
        warmup=0.0,
        clip_norm=None,
        ema=how.ema,
        checkpoint_every=how.checkpoint_every,
        workers=how.workers,
    )
    out = fit(task, settings, work, lambda done, total, info: progress(done, total, {}))
    components.unet.load_state_dict(load_file(out / _WEIGHTS))
    components.unet.eval()


class Planned(Protocol):
    """What is paid for beforehand."""

    def to_json(self) -> dict[str, Any]:
        """All of it."""


def same_plan(work: Path, plan: Planned, of: str = "") -> None:
    """Refuse to go on under another plan, or of other data or settings.

    What was spent under another plan would not be in the ledger; what learned other labels would be released as if it had
    learned these.

    Args:
        work: folder of the training.
        plan: what is paid for.
        of: digest of all else that the result follows from.

    Raises:
        UserError: another one was begun in this folder.
    """
    path = work / "plan.json"
    now = json.loads(json.dumps(plan.to_json() | {"of": of}))
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        write_json(path, now)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = sorted(key for key in now if before.get(key) != now[key])
    if changed:
        raise UserError(
            f"a private training was begun {_of_before(changed, before, now)}",
            code="other-inputs",
            where=str(work),
            fix="use the earlier settings, or delete this folder: what it had is then lost and not released",
        )


def _of_before(changed: list[str], before: dict[str, Any], now: dict[str, Any]) -> str:
    """What it was begun with. A digest is not shown: whoever guesses at private data could tell by it that he is right."""
    if set(changed) <= {"of", "ledger"} and "of" in changed:
        return "on other data, labels or captions, or with another seed or other settings"
    key = next((key for key in changed if key not in ("of", "ledger")), "ledger")
    return f"with {key} = {_short(before.get(key))}, now {_short(now[key])}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:40]
