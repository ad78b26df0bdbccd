"""The twin: a making of the same settings with canaries among the people, never released, for a lower bound on epsilon.

A canary is a person of one picture of blocks of random sign under a random class. Each is in or out by a coin; its score is how
sure the twin is of its class (Steinke et al., arXiv 2305.08846, black box).
"""

from dataclasses import replace

import numpy as np

from pd.classifier.examples import Examples
from pd.classifier.make import Bar, Order, make
from pd.classify.inputs import Held
from pd.classify.task import load_classifier, predict
from pd.dataset.images import Pixels
from pd.dp.canaries import LowerBound, judge
from pd.formal.make import key_of
from pd.seeds import derive

_BLOCK = 4  # pixels of a side; ours


def with_canaries(held: Examples, count: int, seed: int) -> tuple[Examples, Pixels, np.ndarray, np.ndarray]:
    """Members and the canaries that are in; all canaries' pictures, their classes, and which are in.

    All pixels are in memory: a twin is a study, of no more images a person than enter.
    """
    rng = np.random.default_rng(derive(seed, "canaries"))
    height, width, channels = held.images.shape[1:]
    blocks = rng.integers(0, 2, (count, -(-height // _BLOCK), -(-width // _BLOCK), channels)).astype(np.uint8) * 255
    pictures = blocks.repeat(_BLOCK, axis=1).repeat(_BLOCK, axis=2)[:, :height, :width]
    classes = rng.integers(0, len(held.classes), count)
    inserted = rng.random(count) < 0.5
    kept = np.flatnonzero(inserted)
    joined = Examples(
        np.concatenate([held.images[:], pictures[kept]]),
        np.concatenate([held.labels, classes[kept]]),
        np.concatenate([held.first, held.first[-1] + 1 + np.arange(len(kept))]),
        held.classes,
    )
    return joined, pictures, classes, inserted


def twin(order: Order, held: Examples, bar: Bar) -> LowerBound:
    """Make the twin and judge its canaries.

    It learns from the same people once more, and the bound is released: its noise is as secret as the classifier's, and no
    ledger counts it.
    """
    settings = order.settings
    joined, pictures, classes, inserted = with_canaries(held, settings.canaries, order.seed)
    work = order.work / f"twin-{settings.canaries}"  # a begun twin does not resume with others
    source = key_of(work, settings.reproducible, derive(order.seed, "twin"))
    made = make(replace(order, work=work, digest=f"{order.digest} twin"), joined, source, bar)
    sure = predict(load_classifier(made), Held(pictures))[np.arange(len(classes)), classes]
    return judge(np.log(np.maximum(sure.astype(np.float64), 1e-30)), inserted, settings.delta)
