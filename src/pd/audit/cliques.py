"""Groups of samples that are one picture: cliques of the graph whose edges are near-identical pairs."""

import numpy as np
import numpy.typing as npt

from pd.audit.tiles import Tiles, likeness

_BLOCK = 1024  # samples compared with all others at a time


def cliques(rows: Tiles, distance: float, least: int) -> list[npt.NDArray[np.int64]]:
    """Cliques of pairs that are at most `distance` apart, greedily, largest neighbourhoods first; none shares a sample.

    Largest cliques are NP-hard to find, and not needed: a picture that a model repeats is a dense lump, which any order finds.
    Memory is N^2 / 8 bytes (12 MB for 10,000 samples).

    Args:
        rows: (N, 16, t) float32, as `pd.audit.tiles.tiles` makes them.
        distance: of near-identical pairs, as `likeness` measures it.
        least: samples that make a clique.

    Returns:
        The samples of each, in rising order.
    """
    near = np.concatenate([_near(rows, start, distance) for start in range(0, len(rows), _BLOCK)])
    degree = np.bitwise_count(near).sum(axis=1, dtype=np.int64)
    free = np.ones(len(rows), dtype=bool)  # in no clique yet
    seeds = free.copy()  # free, and not yet tried in vain
    found = []
    while len(left := np.flatnonzero(seeds & (degree >= least))):
        seed = int(left[degree[left].argmax()])
        clique = _around(seed, near, degree, free)
        if len(clique) < least:
            seeds[seed] = False
            continue
        found.append(np.sort(clique))
        free[clique] = seeds[clique] = False
        for start in range(0, len(clique), _BLOCK):
            gone = np.unpackbits(near[clique[start : start + _BLOCK]], axis=1, count=len(rows))
            degree -= gone.sum(axis=0, dtype=np.int64)
    return found


def _near(rows: Tiles, start: int, distance: float) -> npt.NDArray[np.uint8]:
    """(n, N / 8) uint8, packed bits: which samples each of a block is near to, itself included."""
    return np.packbits(likeness(rows[start : start + _BLOCK], rows) >= -distance, axis=1)


def _around(
    seed: int, near: npt.NDArray[np.uint8], degree: npt.NDArray[np.int64], free: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """A clique with this sample: its free neighbours are taken in, best connected first, if near to all who are in."""
    common = near[seed] & np.packbits(free)
    neighbours = np.flatnonzero(np.unpackbits(common, count=len(free)))
    clique = [seed]
    for one in neighbours[np.argsort(-degree[neighbours], kind="stable")].tolist():
        if one != seed and common[one >> 3] & (0x80 >> (one & 7)):
            clique.append(one)
            common = common & near[one]
    return np.array(clique, dtype=np.int64)
