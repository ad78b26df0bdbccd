"""DP-SAD (arXiv 2408.14738): a student learns from a teacher's outputs and from an adversary, through its own output alone.

For a noisy input x_r the student's output s is drawn to the teacher's t, to the target, and to what a discriminator D takes
for the teacher's:

    L = mse(t, s) + mse(target, s) + lambda log(1 - D(t, s)),    lambda = 1

and gradients reach the student's weights only through g = dL/ds. Three ways (docs/formal-privacy.md):

    free: teacher, inputs and discriminator are post-processing of a `dp_sgd` model. g is used as it is.
    ensemble: one of K teachers on disjoint people is drawn in secret. Inputs and targets are the student's own samples or
        noise, never private. g of the whole batch is clipped to C as one vector, and noise sigma C is added. There is no D:
        what it holds would depend on which teachers were drawn before, which is a secret that the accounting of one of K
        rests on. Nor is s drawn to the target of inputs that are noise: half of what is paid for would teach that.
    paper: as published: private inputs, an unprotected teacher, g of each row clipped to C, noise sigma C over 500. It has
        no guarantee: the noise is 500 times less than is accounted for, one record moves all of a batch's gradients through
        the teacher, and dx/dweights is taken at a private input.

The paper leaves the discriminator's shape and learning rate open; what is here is ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pd.diffusion.components import Components
from pd.diffusion.ema import Ema
from pd.diffusion.objective import add_noise
from pd.diffusion.randomness import Purpose, stream
from pd.diffusion.schedule import alphas
from pd.dp.noise import NoiseSource
from pd.formal.plan import PAPER_DIVISOR
from pd.progress import Progress, silent

Way = Literal["free", "ensemble", "paper"]
WEIGHT = 1.0  # lambda
_ADVERSARY_RATE, _WIDTH = 2e-4, 32  # ours


class Discriminator(nn.Module):
    """The probability, as a logit, that of two outputs the second is the teacher's: (B, c, h, w) twice, to (B,). Ours."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2 * channels, _WIDTH, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.LazyLinear(1),
        )

    def forward(self, teacher: Tensor, other: Tensor) -> Tensor:
        """Logits."""
        found: Tensor = self.layers(torch.cat([teacher, other], dim=1))
        return found.squeeze(1)


@dataclass(frozen=True)
class Sad:
    """How a student is distilled.

    Attributes:
        way: free, ensemble or paper.
        steps: of the student.
        batch: rows a step.
        learning_rate: Adam's.
        adversary: whether there is a discriminator; for `ensemble` there is none.
        clip: C, for `ensemble` and `paper`.
        noise: sigma, likewise.
        seed: of inputs and new weights.
        ema: decay of the averaged weights.
    """

    way: Way
    steps: int
    batch: int
    learning_rate: float
    adversary: bool
    seed: int
    clip: float = 1.0
    noise: float = 0.0
    ema: float = 0.99


def distil(
    student: Components,
    teachers: Sequence[nn.Module],
    inputs: Callable[[int, np.random.Generator], tuple[Tensor, Tensor]],
    how: Sad,
    source: NoiseSource,
    progress: Progress = silent,
) -> None:
    """Train the student in place.

    Args:
        student: its UNet is trained.
        teachers: UNets; one is drawn a step. One of them, but for `ensemble`.
        inputs: (step, generator) -> latents (B, c, h, w) and the embeddings (B, L, d) of their captions.
        how: see there.
        source: of privacy noise, and of which teacher is asked.
        progress: told of steps.
    """
    unet, table = student.unet.train(), alphas(student.scheduler)
    optimiser = torch.optim.Adam(unet.parameters(), how.learning_rate)
    average = Ema(unet.parameters(), how.ema)
    channels, side = student.latent_shape[0], student.latent_shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(how.seed)
        judges = [Discriminator(channels) for _ in teachers] if how.adversary and how.way != "ensemble" else []
        for judge in judges:
            judge(torch.zeros(2, channels, side, side), torch.zeros(2, channels, side, side))
    judging = [torch.optim.Adam(judge.parameters(), _ADVERSARY_RATE, betas=(0.5, 0.999)) for judge in judges]
    for step in range(how.steps):
        rng = stream(how.seed, Purpose.STEP, step)
        latents, text = inputs(step, rng)
        times = torch.from_numpy(rng.integers(0, len(table), len(latents)))
        noise = torch.from_numpy(rng.standard_normal(latents.shape, dtype=np.float32))
        noisy = add_noise(latents, noise, times, table)
        asked = min(int(source.uniform(1, "teacher", step)[0] * len(teachers)), len(teachers) - 1)
        with torch.no_grad():
            given = teachers[asked](noisy, times, text).sample
        abar = table[times].view(-1, 1, 1, 1)
        target = abar.sqrt() * noise - (1 - abar).sqrt() * latents
        if student.scheduler.config.prediction_type == "epsilon":
            target = noise
        output = unet(noisy, times, text).sample
        seen = output.detach().requires_grad_()
        loss = functional.mse_loss(seen, given)
        if how.way != "ensemble":
            loss = loss + functional.mse_loss(seen, target)
        if judges:
            _teach(judges[asked], judging[asked], given, seen.detach())
            # minimised by the student where D takes its output for the teacher's: log(1 - D) falls with D
            loss = loss + WEIGHT * functional.logsigmoid(-judges[asked](given, seen)).mean()
        (gradient,) = torch.autograd.grad(loss, seen)
        released = release_output_gradient(gradient, how, source, step)
        optimiser.zero_grad(set_to_none=True)
        output.backward(released)
        optimiser.step()
        average.update(unet.parameters(), step)
        progress(step + 1, how.steps, {})
    for value, mean in zip(unet.parameters(), average.averages, strict=True):
        value.data.copy_(mean)
    unet.eval()


def release_output_gradient(gradient: Tensor, how: Sad, source: NoiseSource, step: int) -> Tensor:
    """dL/ds as it may reach the student: as it is, or clipped and noised.

    Args:
        gradient: (B, c, h, w), of a mean over B rows.
        how: the way, clip and noise.
        source: of the noise.
        step: names the release.
    """
    if how.way == "free":
        return gradient
    # of a sum over rows, so that C does not depend on the batch
    rows = gradient.double() * len(gradient)
    noise = torch.from_numpy(source.normal(tuple(gradient.shape), "output gradient", step))
    if how.way == "ensemble":
        norm = float(rows.norm())
        factor = min(1.0, how.clip / norm) if np.isfinite(norm) and norm > 0 else 0.0
        released: Tensor = (torch.nan_to_num(rows) * factor + how.noise * how.clip * noise) / len(rows)
        return released.to(gradient.dtype)
    norms = rows.flatten(1).norm(dim=1).clamp(min=1e-12)
    clipped = rows * (how.clip / norms).clamp(max=1.0).view(-1, 1, 1, 1)
    published: Tensor = (clipped + how.noise * how.clip / PAPER_DIVISOR * noise) / len(rows)
    return published.to(gradient.dtype)


def _teach(judge: Discriminator, optimiser: torch.optim.Optimizer, given: Tensor, output: Tensor) -> None:
    """One step of a discriminator: the teacher's own output against the student's."""
    own, other = judge(given, given), judge(given, output)
    loss = -(functional.logsigmoid(own).mean() + functional.logsigmoid(-other).mean())
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
