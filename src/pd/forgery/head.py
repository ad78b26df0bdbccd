"""From a network that knows what is natural to a score: features of windows, a head, clips' scores, and how good they are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from pd.classify.inputs import Held
from pd.classify.task import ClassifierTask, digest_of_array, load_classifier, predict
from pd.config import digest_of
from pd.config.training import TrainingSettings
from pd.dataset.images import Pixels
from pd.forgery.network import ClipNet
from pd.forgery.windows import firsts, in_units
from pd.training.task import Task

Floats = npt.NDArray[np.float64]
Fit = Callable[[Task, TrainingSettings], Path]
"""Trains a task, here or by workers, and gives the folder of its result."""

BATCH = 16  # windows of a forward
WIDTH = 64  # of the head's hidden layer  # ours


@dataclass(frozen=True)
class Features:
    """Windows as the frozen network sees them.

    Attributes:
        rows: (K, d) float32.
        clip: (K,) int64, which clip each is of.
        first: (K,) int64, the window's first frame.
        clips: how many clips there are; one that is shorter than a window has no row.
    """

    rows: npt.NDArray[np.float32]
    clip: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    clips: int


@torch.no_grad()
def features_of(net: ClipNet, window: int, clips: Iterable[Pixels], most: int) -> Features:
    """Features of at most `most` windows of each clip, (T, S, S, C) uint8; one clip is held at a time."""
    device = next(net.parameters()).device
    rows, of, at, number = [], [], [], 0
    for number, pixels in enumerate(clips, start=1):
        places = firsts(len(pixels), window, most)
        for start in range(0, len(places), BATCH):
            some = places[start : start + BATCH]
            batch = torch.from_numpy(np.stack([pixels[first : first + window] for first in some]))
            rows.append(net.features(in_units(batch.to(device))).cpu().numpy())
        of += [number - 1] * len(places)
        at += places
    found = np.concatenate(rows) if rows else np.zeros((0, 1), np.float32)
    return Features(found.astype(np.float32), np.array(of, np.int64), np.array(at, np.int64), number)


def head_task(real: Sequence[Features], forged: Sequence[Features], seed: int, digest: str = "") -> ClassifierTask:
    """The MLP that tells features of forged windows from real ones; both sides count alike.

    Args:
        real: of natural clips.
        forged: of forged ones, each kind by itself; kinds count alike, too.
        seed: of the head.
        digest: of how it is trained.
    """
    most = max(len(part.rows) for part in forged)
    made = np.concatenate([_repeated(part.rows, most) for part in forged])
    natural = _repeated(np.concatenate([part.rows for part in real]), len(made))
    rows = np.concatenate([natural, made])
    targets = np.zeros((len(rows), 2), np.float32)
    targets[: len(natural), 0] = targets[len(natural) :, 1] = 1
    whole = digest_of([digest_of_array(rows), digest])
    return ClassifierTask(Held(rows), targets, seed=seed, batch=min(64, len(rows)), width=WIDTH, digest=whole)


def scores_of(head: Path, features: Features) -> tuple[Floats, npt.NDArray[np.float32]]:
    """(M,) mean probability of being forged of each clip's windows, NaN without one; and (K,) of the windows."""
    if not len(features.rows):
        return np.full(features.clips, np.nan), np.zeros(0, np.float32)
    each = predict(load_classifier(head), Held(features.rows))[:, 1]
    sums = np.bincount(features.clip, weights=each, minlength=features.clips)
    counts = np.bincount(features.clip, minlength=features.clips)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), each


def auc(real: Floats, forged: Floats) -> float:
    """Probability that a forged clip scores above a real one; ties count half."""
    return float(((forged[:, None] > real[None]) + 0.5 * (forged[:, None] == real[None])).mean())


def threshold_at(real: Floats, false_alarms: float) -> float:
    """The score above which at most this share of new real clips lies: of n kept-out ones the ceil((n + 1)(1 - share))-th.

    With too few of them for that, the largest: then more than the share may be flagged.
    """
    place = int(np.ceil((len(real) + 1) * (1 - false_alarms)))
    return float(np.sort(real)[min(place, len(real)) - 1])


def _repeated(rows: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.float32]:
    return rows[np.arange(max(count, len(rows))) % len(rows)]
