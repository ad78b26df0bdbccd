"""Attribute disclosure: do a person's hidden traits show in the synthetic set better than those of people it never saw?

Who has a person's picture with one attribute hidden looks for the samples most like it and reads the attribute off them. That
works to a degree on anybody, since samples of bearded men resemble bearded men: the leak is what it does better on members
than on hold-out people. Hidden is either a label, guessed from the labels of the nearest samples' prompts, or half of the
picture, guessed to be as in the sample whose other half fits best.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from pd.audit.attackers.base import Embedded
from pd.audit.estimate import CONFIDENCE, Floats, multiplicities, number, of_people
from pd.audit.results import Guessed
from pd.audit.utility import weighted_auc
from pd.dataset.parquet_images import Images, blocks
from pd.reid.spaces.whitening import Rows, unit

NEAREST = 10  # samples that vote on a label
_LEAST_PEOPLE = 2  # with and without a label, on either side
_SIDE = 16  # pixels of the thumbnails that halves are compared by
_PAIRS = 1 << 24
_BYTES = 16 << 20  # of pixels at a time; as float32 they are four times as many


@dataclass(frozen=True, eq=False)
class Targets:
    """People whose attribute is guessed.

    Attributes:
        identities: P names, one for each picture.
        labels: name -> (P,) float64, the truth, NaN where unknown.
    """

    identities: Sequence[str]
    labels: Mapping[str, Floats]


def of_label(
    name: str, members: Targets, holdout: Targets, guess: tuple[Floats, Floats], *, bootstrap: int, seed: int, labels: int = 1
) -> Guessed | str:
    """How much better a yes-or-no label of members is guessed than one of hold-out people, or why that cannot be said.

    Args:
        name: of the label.
        members: the pictures of members.
        holdout: those of hold-out people.
        guess: the score of each picture of either, larger for yes; NaN where nothing was to be guessed from.
        bootstrap: resamples of the people on either side.
        seed: of the resampling.
        labels: how many are looked at: the more, the wider the advantage's interval, so that the worst one's holds, too
            (Bonferroni).
    """
    rng = np.random.default_rng(seed)
    values, draws, counts, crowds = [], [], [], []
    for side, targets, score in (("members", members, guess[0]), ("hold-out people", holdout, guess[1])):
        truth = targets.labels[name]
        known = np.isfinite(truth) & np.isfinite(score)
        if not set(np.unique(truth[known]).tolist()) <= {0.0, 1.0}:
            return "not a yes-or-no label"
        people = number(targets.identities)
        for value in (0.0, 1.0):
            crowds.append(len(np.unique(people[known & (truth == value)])))
            if crowds[-1] < _LEAST_PEOPLE:
                return f"fewer than {_LEAST_PEOPLE} {side} {'have' if value else 'lack'} it"
        weight = multiplicities(int(people.max()) + 1, bootstrap, rng)[:, people]
        once = np.ones((1, int(known.sum())))
        values.append(float(weighted_auc(score[known], truth[known] > 0.5, once)[0]))
        draws.append(weighted_auc(score[known], truth[known] > 0.5, weight[:, known]))
        counts.append(int(known.sum()))
    return _disclosure(values, draws, counts, min(crowds), labels)


def of_half(
    members: tuple[Floats, Sequence[str]], holdout: tuple[Floats, Sequence[str]], *, bootstrap: int, seed: int
) -> Guessed:
    """How much better the hidden halves of members' pictures are guessed.

    Args:
        members: (P,) agreement of guess and truth for each picture, and who is in it.
        holdout: the same of hold-out people.
        bootstrap: resamples of the people on either side.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    values, draws, counts, crowds = [], [], [], []
    for agreement, identities in (members, holdout):
        people = number(identities)
        weight = multiplicities(int(people.max()) + 1, bootstrap, rng)[:, people]
        values.append(float(agreement.mean()))
        draws.append(weight @ agreement / weight.sum(axis=1))
        counts.append(len(agreement))
        crowds.append(int(people.max()) + 1)
    return _disclosure(values, draws, counts, min(crowds))


def guess_label(samples: Rows, label: Floats, pictures: Embedded) -> Floats:
    """(P,) mean label of the samples nearest to each picture or its mirror image; NaN where no sample has the label.

    Args:
        samples: (N, d) unit rows, as an attacker embeds them.
        label: (N,) what their prompts imply, NaN where they imply nothing.
        pictures: the same attacker's rows of P pictures.
    """
    known = np.isfinite(label)
    if not known.any():
        return np.full(len(pictures.rows), np.nan)
    rows, label = samples[known], label[known]
    most = min(NEAREST, len(rows))
    step = max(1, _PAIRS // len(rows))
    parts = []
    for start in range(0, len(pictures.rows), step):
        here = slice(start, start + step)
        alike = np.maximum(pictures.rows[here] @ rows.T, pictures.mirrored[here] @ rows.T)
        nearest = np.argpartition(-alike, most - 1, axis=1)[:, :most]
        parts.append(label[nearest].mean(axis=1))
    return np.concatenate(parts)


def guess_halves(samples: Images, pictures: Images) -> Floats:
    """(P,) correlation of hidden halves with those of the samples whose visible halves fit best; mean of 4 ways to halve.

    Args:
        samples: (N, H, W, C) uint8.
        pictures: (P, H, W, C) uint8.
    """
    small, truth = _thumbnails(samples), _thumbnails(pictures)
    agreement = np.zeros(len(truth))
    for visible in _halves(small.shape[1:]):
        seen, sought = _correlating(small[:, visible]), _correlating(truth[:, visible])
        hidden, true = _correlating(small[:, ~visible]), _correlating(truth[:, ~visible])
        step = max(1, _PAIRS // len(seen))
        best = [(sought[start : start + step] @ seen.T).argmax(axis=1) for start in range(0, len(sought), step)]
        agreement += (hidden[np.concatenate(best)] * true).sum(axis=1) / 4
    return agreement


def _disclosure(values: list[float], draws: list[Floats], counts: list[int], people: int, looks: int = 1) -> Guessed:
    """From values, draws and counts of members and of hold-out people; `people` of the smallest group, of so many looks one."""
    members, holdout = (of_people(value, drawn, people, n) for value, drawn, n in zip(values, draws, counts, strict=True))
    confidence = 1 - (1 - CONFIDENCE) / looks
    advantage = of_people(values[0] - values[1], draws[0] - draws[1], people, sum(counts), confidence=confidence)
    return Guessed(members=members, holdout=holdout, advantage=advantage)


def _thumbnails(images: Images) -> npt.NDArray[np.float32]:
    """(N, side, side, C) float32."""
    parts = []
    for _, block in blocks(images, _BYTES):
        pixels = torch.from_numpy(np.ascontiguousarray(block.transpose(0, 3, 1, 2))).float()
        small = F.interpolate(pixels, size=(min(_SIDE, pixels.shape[2]), min(_SIDE, pixels.shape[3])), mode="area")
        parts.append(small.permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)


def _halves(shape: tuple[int, ...]) -> list[npt.NDArray[np.bool_]]:
    """Masks (side, side, C) of what stays visible: the upper, lower, left and right half."""
    upper = np.zeros(shape, dtype=bool)
    upper[: shape[0] // 2] = True
    left = np.zeros(shape, dtype=bool)
    left[:, : shape[1] // 2] = True
    return [upper, ~upper, left, ~left]


def _correlating(flat: npt.NDArray[np.float32]) -> Rows:
    """Rows whose inner product is the correlation."""
    return unit(flat - flat.mean(axis=1, keepdims=True))
