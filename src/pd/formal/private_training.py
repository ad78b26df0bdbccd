"""DP-SGD of a denoiser (Abadi et al., arXiv 1607.00133; for diffusion Dockhorn et al., arXiv 2210.09929).

A step draws people by Poisson sampling, several noise levels for each, clips the gradient of each person's mean loss, adds
noise to the sum, and divides by the expected number of people, which is public. All that a step draws follows from
(key, step), so a killed training goes on as if it had not been, and nothing is counted twice.

Progress shows steps and no loss: a loss of private data is no event of the ledger.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pd.diffusion.components import Components
from pd.diffusion.ema import Ema
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
from pd.training import checkpoint
from pd.training.task import Alone, Ranks


@dataclass(frozen=True)
class How:
    """What changes a private training's result but not its privacy.

    Attributes:
        seed: of noise levels and pictures of a person.
        learning_rate: Adam's, constant.
        ema: decay of the averaged weights.
        micro_batch: people a forward.
        caption_dropout: share of captions dropped.
        gamma: of min-SNR weighting.
        checkpoint_every: steps.
    """

    seed: int
    learning_rate: float = 5e-4
    ema: float = 0.98
    micro_batch: int = 64
    caption_dropout: float = 0.1
    gamma: float | None = 5.0
    checkpoint_every: int = 20


class PrivateDenoising:
    """The objective on people: rows of losses, and the noised sum of a step.

    Args:
        components: the model; of its UNet the parameters with `requires_grad` are trained.
        people: the members.
        text: (C + 1, L, d) embeddings, row 0 of the empty caption, row c + 1 of caption c.
        plan: rate, clip, draws and noise.
        how: the rest.
        source: of people and noise.
    """

    def __init__(self, components: Components, people: People, text: Tensor, plan: Plan, how: How, source: NoiseSource) -> None:
        self.unet: nn.Module = components.unet
        self._people, self._text, self._plan, self._how, self._source = people, text, plan, how, source
        self._alphas = alphas(components.scheduler)
        self._prediction = components.scheduler.config.prediction_type
        self._gradients = PersonGradients(self.unet)

    def noised_sum(self, step: int, ranks: Ranks) -> NoisedSum:
        """A step's released gradient: a function of (key, step, weights), whatever the number of ranks."""
        drawn = torch.from_numpy(self._source.poisson_sample(len(self._people), self._plan.rate, "people", step))
        draws = self._plan.draws
        rng = stream(self._how.seed, Purpose.STEP, step)
        shape = self._people.latents.shape[1:]
        which = torch.from_numpy(rng.random((len(drawn), draws)))
        times = torch.from_numpy(rng.integers(0, len(self._alphas), (len(drawn), draws)))
        drop = torch.from_numpy(rng.random((len(drawn), draws)) < self._how.caption_dropout)
        noise_seeds = rng.integers(0, 2**62, len(drawn))
        images = self._people.rows(drawn, which)
        total = ClippedSum(self.unet, self._plan.clip)
        mine = torch.arange(ranks.rank, len(drawn), ranks.world)
        for part in mine.split(self._how.micro_batch):
            noise = np.stack([np.random.default_rng(s).standard_normal((draws, *shape), dtype=np.float32)
                              for s in noise_seeds[part.numpy()]])  # fmt: skip
            rows = images[part].flatten()

            def losses(part: Tensor = part, noise: np.ndarray = noise, rows: Tensor = rows) -> Tensor:
                return self.losses(rows, torch.from_numpy(noise).flatten(0, 1), times[part].flatten(), drop[part].flatten())

            self._gradients.add(total, losses, len(part))
        total.over_ranks(ranks)
        return total.noised(self._plan.noise, self._source, step)

    def losses(self, rows: Tensor, noise: Tensor, times: Tensor, drop: Tensor | None = None) -> Tensor:
        """(R,) weighted squared errors of rows of the people's latents; private."""
        latents = self._people.latents[rows]
        words = self._people.captions[rows] + 1
        text = self._text[words if drop is None else words.masked_fill(drop, 0)]
        noisy = add_noise(latents, noise, times, self._alphas)
        predicted = self.unet(noisy, times, text).sample
        return row_errors(
            predicted, latents, noise, times, alphas=self._alphas, prediction=self._prediction, gamma=self._how.gamma
        )


def train_privately(
    components: Components,
    people: People,
    text: Tensor,
    plan: Plan,
    how: How,
    source: NoiseSource,
    work: Path,
    progress: Progress = silent,
    ranks: Ranks | None = None,
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
        ranks: the ranks that train together.

    Raises:
        UserError: a checkpoint of another plan lies in `work`.
    """
    ranks = ranks or Alone()
    unet = components.unet.train()
    task = PrivateDenoising(components, people, text, plan, how, source)
    trained = {name: value for name, value in unet.named_parameters() if value.requires_grad}
    optimiser = torch.optim.Adam(trained.values(), how.learning_rate)
    average = Ema(trained.values(), how.ema)
    _same_plan(work, plan)
    start = 0
    if found := checkpoint.load(work):
        tensors, state = found
        start = int(state["done"])
        for name, value in trained.items():
            value.data.copy_(tensors[f"module/{name}"])
        checkpoint.load_optimiser(
            optimiser, unet, {k.removeprefix("optimiser/"): v for k, v in tensors.items() if k.startswith("optimiser/")}
        )
        for name, mean in zip(trained, average.averages, strict=True):
            mean.copy_(tensors[f"average/{name}"])
    for step in range(start, plan.steps):
        optimiser.zero_grad(set_to_none=True)
        task.noised_sum(step, ranks).fill(unet, plan.expected)
        optimiser.step()
        average.update(trained.values(), step)
        done = step + 1
        if done % how.checkpoint_every == 0 and done < plan.steps and ranks.rank == 0:
            held = {f"module/{name}": value for name, value in trained.items()}
            held |= {f"optimiser/{name}": value for name, value in checkpoint.optimiser_tensors(optimiser, unet).items()}
            held |= {f"average/{name}": value for name, value in zip(trained, average.averages, strict=True)}
            checkpoint.save(work, done, held, {})
        if ranks.rank == 0:
            progress(done, plan.steps, {})
    for value, mean in zip(trained.values(), average.averages, strict=True):
        value.data.copy_(mean)
    unet.eval()


def _same_plan(work: Path, plan: Plan) -> None:
    """Refuse to go on under another plan: what was spent under the first would not be in the ledger."""
    path = work / "plan.json"
    now = json.loads(json.dumps(plan.to_json()))
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        write_json(path, now)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = sorted(key for key in now if before.get(key) != now[key])
    if changed:
        key = next((key for key in changed if key != "ledger"), "ledger")
        raise UserError(
            f"a private training was begun with {key} = {_short(before.get(key))}, now {_short(now[key])}",
            where=str(work),
            fix="go on with the settings of before, or delete this folder: what it had is then lost and not released",
        )


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:40]
