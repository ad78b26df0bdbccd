"""The twin: a training of the same settings with canaries among the people, never released, for a lower bound on epsilon.

A canary is a person of one picture of blocks of random sign, which nobody's picture looks like. Each is in or out by a
coin. After the training, a canary's score is by how much the private steps lowered its loss (Steinke et al.,
arXiv 2305.08846, the black-box attack on losses).
"""

import copy

import numpy as np
import torch
from torch import Tensor

from pd.diffusion.components import Components, build
from pd.dp.canaries import LowerBound, judge
from pd.dp.noise import NoiseSource
from pd.formal.make import Order, Task, key_of, make, make_start, text_of
from pd.formal.people import People
from pd.formal.private_training import How, PrivateDenoising
from pd.formal.warm_up import Latents
from pd.seeds import derive

_DRAWS = 32  # noise levels behind a score; ours
_SIZE = 1.0  # deviation of a canary's latents


def with_canaries(people: People, count: int, captions: int, seed: int) -> tuple[People, People, np.ndarray]:
    """The people and the canaries that are in; all canaries; which are in, (m,) bool."""
    rng = np.random.default_rng(derive(seed, "canaries"))
    c, h, w = people.latents.shape[1:]
    signs = rng.choice([-_SIZE, _SIZE], (count, c, -(-h // 2), -(-w // 2)))
    pictures = torch.from_numpy(np.repeat(np.repeat(signs, 2, axis=2), 2, axis=3)[:, :, :h, :w].astype(np.float32))
    of = torch.from_numpy(rng.integers(0, captions, count))
    inserted = rng.random(count) < 0.5
    kept = torch.from_numpy(np.flatnonzero(inserted))
    last = int(people.first[-1])
    joined = People(
        torch.cat([people.latents, pictures[kept]]),
        torch.cat([people.captions, of[kept]]),
        torch.cat([people.first, last + 1 + torch.arange(len(kept))]),
    )
    return joined, People(pictures, of, torch.arange(count + 1)), inserted


@torch.no_grad()
def losses_of(parts: Components, canaries: People, text: Tensor, order: Order) -> np.ndarray:
    """(m,) mean losses over the same noise for every model."""
    task = PrivateDenoising(parts, canaries, text, order.plan, How(seed=0), NoiseSource.of_seed(0))
    rng = np.random.default_rng(derive(order.seed, "canary noise"))
    total = torch.zeros(len(canaries))
    for _ in range(_DRAWS):
        noise = torch.from_numpy(rng.standard_normal(canaries.latents.shape, dtype=np.float32))
        times = torch.from_numpy(rng.integers(0, 1000, len(canaries)))
        total += task.losses(parts.unet, torch.arange(len(canaries)), noise, times)
    return (total / _DRAWS).double().numpy()


def twin(order: Order, people: People, task: Task, public: Latents | None) -> LowerBound:
    """Train the twin and judge its canaries.

    It learns from the same people once more, and the bound is released: its noise is as secret as the model's, and no ledger
    counts it.

    Args:
        order: of the model that is released.
        people: the members.
        task: shows progress.
        public: as the model's.
    """
    settings = order.settings
    joined, canaries, inserted = with_canaries(people, settings.canaries, len(order.captions), order.seed)
    work = order.work / f"twin-{settings.canaries}"  # a begun twin does not resume with others
    source = key_of(work, settings.reproducible, derive(order.seed, "twin"))
    apart = Order(settings, order.shape, order.plan, order.captions, work, order.seed, fit_many=order.fit_many)
    if order.plan.reading == "sound" and order.plan.rate:
        start = make_start(apart, joined, source, task, public)
    else:
        start = build(settings.model, order.shape, derive(order.seed, "start"))
    start = copy.deepcopy(start)
    trained = make(apart, joined, source, task, public)
    text = text_of(start, order.captions)
    before, after = (losses_of(parts, canaries, text, order) for parts in (start, trained))
    return judge(before - after, inserted, settings.delta)
