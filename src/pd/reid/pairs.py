"""All pairs of images of a hold-out set, a block of rows at a time: N x N cosines are never held, nor indices of pairs."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]

EXACT_PAIRS = 1 << 22  # so many pairs are kept one by one (2,896 images); more are counted by cosine  # ours
BINS = 1 << 14  # of cosines from -1 to 1 then: each 1.2e-4 wide  # ours
_BLOCK = 1 << 22  # cosines held at a time, 16 MB
_HELD = 1 << 22  # cosines of one person's pairs held at a time


def pairs_of(embeddings: ArrayLike, identities: ArrayLike) -> tuple[Floats, NDArray[np.bool_], NDArray[np.int64] | None]:
    """All pairs of different images, each once.

    Args:
        embeddings: (N, d) float32, rows of unit length.
        identities: (N,) names.

    Returns:
        cosines (P,) float32; whether both images show one person, (P,) bool; and how many pairs each stands for, (P,) int64.
        That is None, and each stands for itself, where there are at most EXACT_PAIRS; else each is the middle of a bin, and
        there are two for each of BINS bins.
    """
    rows, who = _checked(embeddings, identities)
    n = len(rows)
    if n * (n - 1) // 2 <= EXACT_PAIRS:
        left, right = np.triu_indices(n, 1)
        return (rows @ rows.T)[left, right], who[left] == who[right], None
    counts = np.zeros((2, BINS), np.int64)
    for cosines, same in _upper(rows, who):
        at = np.clip((cosines + 1) * (BINS / 2), 0, BINS - 1).astype(np.int64)
        for kind in (0, 1):
            counts[kind] += np.bincount(at[same == kind], minlength=BINS)
    middle = ((np.arange(BINS) + 0.5) * (2 / BINS) - 1).astype(np.float32)
    return np.tile(middle, 2), np.arange(2 * BINS) >= BINS, counts.reshape(-1)


def auc_of_pairs(embeddings: ArrayLike, identities: ArrayLike) -> tuple[float | None, int, int]:
    """How well cosines tell pairs of one person from pairs of two.

    Args:
        embeddings: (N, d) float32, rows of unit length.
        identities: (N,) names.

    Returns:
        The area under the ROC curve, which is the share of (pair of one person, pair of two) whose first cosine is larger, ties
        half: counted, so exact; None where there is no pair of one kind. Then the pairs of one person, and of two.
    """
    rows, who = _checked(embeddings, identities)
    n = len(rows)
    _, images = np.unique(who, return_counts=True)
    same = int((images.astype(np.int64) * (images - 1) // 2).sum())
    other = n * (n - 1) // 2 - same
    if not same or not other:
        return None, same, other
    twice_won = 0
    for held in _held_same(rows, who):
        held.sort()
        for cosines, alike in _upper(rows, who):
            others = cosines[~alike]
            near = others[others >= held[0]]  # all pairs held are above the rest
            twice_won += 2 * len(held) * len(others)
            twice_won -= int(np.searchsorted(held, near, "left").sum() + np.searchsorted(held, near, "right").sum())
    return twice_won / (2 * same * other), same, other


def rank1(embeddings: ArrayLike, identities: ArrayLike) -> float | None:
    """Share of images whose nearest other image shows the same person, over images that have one; None without any."""
    rows, who = _checked(embeddings, identities)
    images = np.bincount(who, minlength=1)
    hits, mated = 0, int((images[who] > 1).sum())
    for start, cosines in _blocks(rows):
        here = np.arange(len(cosines))
        cosines[here, start + here] = -np.inf
        own = who[start : start + len(cosines)]
        hits += int(((who[cosines.argmax(1)] == own) & (images[own] > 1)).sum())
    return hits / mated if mated else None


def _checked(embeddings: ArrayLike, identities: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """(N, d) float32, and (N,) int64 that number the people."""
    rows, names = np.asarray(embeddings, dtype=np.float32), np.asarray(identities, dtype=str)
    if len(rows) != len(names):
        raise ValueError(f"{len(rows)} embeddings, {len(names)} identities")
    return rows, np.unique(names, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _blocks(rows: Floats) -> Iterator[tuple[int, Floats]]:
    """Cosines of some rows with all, (n, N), and where these rows begin."""
    step = max(1, _BLOCK // max(1, len(rows)))
    for start in range(0, len(rows), step):
        yield start, rows[start : start + step] @ rows.T


def _upper(rows: Floats, who: NDArray[np.int64]) -> Iterator[tuple[Floats, NDArray[np.bool_]]]:
    """Cosines of pairs of different images, each pair once, (p,) at a time, and whether both show one person."""
    for start, cosines in _blocks(rows):
        once = np.arange(len(rows))[None] > start + np.arange(len(cosines))[:, None]
        yield cosines[once], (who[start : start + len(cosines), None] == who[None])[once]


def _held_same(rows: Floats, who: NDArray[np.int64]) -> Iterator[Floats]:
    """Cosines of all pairs of one person, so many at a time as are held at once; nearly always all of them."""
    waiting: list[Floats] = []
    for cosines, same in _upper(rows, who):
        waiting.append(cosines[same])
        if sum(map(len, waiting)) > _HELD:
            yield np.concatenate(waiting)
            waiting = []
    if sum(map(len, waiting)):
        yield np.concatenate(waiting)
