"""Exact nearest neighbours by cosine: a missed neighbour is a missed leak, so no index that approximates decides."""

import math
import warnings
from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pd.reid.screen import UNIT_TOLERANCE, Screen, best_dtype

_QUERIES = 1024  # queries screened at a time
_PAIRS = 1 << 20  # pairs held before they are scored
_SHARPEN = 4  # pairs per wanted neighbour from which a float32 look at them pays
_NUMBERS = 1 << 22  # float64 numbers of a slice of pairs while it is scored


class Gallery:
    """Rows to search, all of them, every time.

    Every query is screened against every row (see `Screen`), and each row that the screen's error bound cannot exclude is
    scored again in float64. So scores and indices are those of a float64 brute force, whatever the block size, the batch or
    the screen's precision; equal scores go to the lowest index. Memory is bounded by the block, never N x M.

    Args:
        rows: (M, d) float32, rows of unit length, M and d at least 1.
        device: where to search.
        screen: precision of the screen; None picks bfloat16 where the hardware multiplies it quickly, else float32.

    Raises:
        ValueError: rows are not a matrix, there are none, or one is not finite or not of unit length.
    """

    def __init__(
        self, rows: ArrayLike | Tensor, *, device: str | torch.device = "cpu", screen: torch.dtype | None = None
    ) -> None:
        self._rows = _unit_rows(rows, torch.device(device), "gallery")
        if not len(self._rows):
            raise ValueError("the gallery has no rows: there is nobody to be re-identified as")
        self._screen = Screen(self._rows, screen or best_dtype(self._rows.device))
        self._first = _first_copies(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def where(self, mask: NDArray[np.bool_]) -> "Gallery":
        """The gallery of the rows where the (M,) mask is true, at least one."""
        return Gallery(self._rows[torch.from_numpy(mask)], device=self._rows.device, screen=self._screen.rows.dtype)

    def nearest(self, queries: ArrayLike | Tensor, block: int = 4096) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The best row of each query.

        Args:
            queries: (N, d) float32, rows of unit length.
            block: gallery rows screened at a time.

        Returns:
            scores (N,) float32 and indices (N,) int64.
        """
        scores, index = self.top_k(queries, 1, block)
        return scores[:, 0], index[:, 0]

    def top_k(self, queries: ArrayLike | Tensor, k: int, block: int = 4096) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k best rows of each query, best first: scores (N, k) float32, indices (N, k) int64; k at most M."""
        scores, index = self.exact_top_k(queries, k, block)
        return scores.astype(np.float32), index

    def exact_top_k(
        self, queries: ArrayLike | Tensor, k: int, block: int = 4096
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """As `top_k`, with the float64 scores by which parts of a larger gallery are merged."""
        if not 1 <= k <= len(self):
            raise ValueError(f"k = {k} of a gallery of {len(self)} rows")
        found = [self._top_k(part, k, block) for part in self._parts(queries, block)]
        scores = torch.cat([s for s, _ in found]) if found else torch.empty(0, k, dtype=torch.float64)
        index = torch.cat([i for _, i in found]) if found else torch.empty(0, k, dtype=torch.int64)
        return scores.cpu().numpy(), index.cpu().numpy()

    def any_above(self, queries: ArrayLike | Tensor, t: float, block: int = 4096) -> NDArray[np.bool_]:
        """Whether any row scores >= t: (N,) bool, the same as `nearest(queries)[0] >= t` and cheaper.

        Only queries whose screened best lies within the bound of t are scored again.
        """
        if math.isnan(t):
            raise ValueError("t = nan: a threshold is a number")
        found = [self._any_above(part, t, block) for part in self._parts(queries, block)]
        return torch.cat(found).cpu().numpy() if found else np.zeros(0, bool)

    def _parts(self, queries: ArrayLike | Tensor, block: int) -> Iterator[Tensor]:
        if block < 1:
            raise ValueError(f"block = {block}: at least 1")
        checked = _unit_rows(queries, self._rows.device, "queries")
        if checked.shape[1] != self._rows.shape[1]:
            raise ValueError(f"queries have {checked.shape[1]} dimensions, the gallery {self._rows.shape[1]}")
        return iter(torch.split(checked, _QUERIES)) if len(checked) else iter(())

    def _top_k(self, queries: Tensor, k: int, block: int) -> tuple[Tensor, Tensor]:
        """Exact scores (B, k) float64 and indices (B, k) for one part of the queries."""
        low, bound = self._screen.queries(queries)
        b, device = len(queries), queries.device
        # What the k best rows so far score at least, from the largest of each group, which are distinct rows.
        reached = torch.full((b, k), -torch.inf, device=device)
        best = (
            torch.full((b, k), -torch.inf, dtype=torch.float64, device=device),
            torch.full((b, k), len(self), device=device),
        )
        waiting: list[tuple[Tensor, Tensor, Tensor]] = []
        for start in range(0, len(self), block):
            seen = self._screen.look(low, start, min(start + block, len(self)))
            sure = self._screen.surely(seen.groups, bound[:, None])
            reached = torch.cat([reached, sure], 1).topk(k, dim=1).values
            query, column = seen.at_least(self._screen.needed(reached[:, -1], bound))
            waiting.append((query, column + start, seen.scores[query, column].float()))
            if sum(len(q) for q, _, _ in waiting) > _PAIRS:
                best = self._settle(queries, waiting, self._screen.needed(reached[:, -1], bound), best)
                reached = torch.maximum(reached, best[0].float() - 1e-6)
                waiting = []
        return self._settle(queries, waiting, self._screen.needed(reached[:, -1], bound), best)

    def _settle(
        self,
        queries: Tensor,
        waiting: list[tuple[Tensor, Tensor, Tensor]],
        low: Tensor,
        best: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Score what waits and can still win, and merge it into the best (B, k): by score, then by lowest index."""
        if not waiting:
            return best
        query, row, screened = (torch.cat(parts) for parts in zip(*waiting, strict=True))
        alive = screened >= low[query]
        if best[0].shape[1] == 1:
            alive &= self._first[row] == row  # a copy of an earlier row never wins
        query, row = query[alive], row[alive]
        b, k = best[0].shape
        if len(query) > _SHARPEN * b * k and not queries.is_cuda:
            likely = self._likely(queries, query, row, k)
            query, row = query[likely], row[likely]
        scores = torch.cat([best[0].flatten(), self._exact(queries, query, row)])
        rows = torch.cat([best[1].flatten(), row])
        owner = torch.cat([torch.arange(b, device=query.device).repeat_interleave(k), query])
        order = rows.argsort()
        order = order[scores[order].argsort(stable=True, descending=True)]
        order = order[owner[order].argsort(stable=True)]
        starts = torch.searchsorted(owner[order], torch.arange(b, device=owner.device))
        take = order[starts[:, None] + torch.arange(k, device=owner.device)]
        return scores[take], rows[take]

    def _likely(self, queries: Tensor, query: Tensor, row: Tensor, k: int) -> Tensor:
        """Positions of the pairs that may be among the k best of their query, from float32 scores and their bound.

        In a clustered gallery many rows lie within the bound of a bfloat16 screen. A product sampled at those pairs is some
        fifteen times cheaper than their float64 scores, and leaves a few.
        """
        order = (query * len(self) + row).argsort()
        counts = torch.bincount(query, minlength=len(queries))
        ends = counts.cumsum(0)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta", category=UserWarning)
            pattern = torch.sparse_csr_tensor(
                torch.cat([ends.new_zeros(1), ends]),
                row[order],
                torch.zeros(len(row)),
                (len(queries), len(self)),
                check_invariants=True,
            )
            scores = torch.sparse.sampled_addmm(pattern, queries, self._rows.T, beta=0.0).values()
        owner, off = query[order], self._screen.summing + 1e-6
        ranked = scores.argsort(descending=True)
        ranked = ranked[owner[ranked].argsort(stable=True)]
        kth = scores[ranked[(ends - counts + k - 1).clamp_max(len(ranked) - 1)]]
        reached = torch.where(counts >= k, kth, -torch.inf)
        return order[scores >= reached[owner] - 2 * off]

    def _any_above(self, queries: Tensor, t: float, block: int) -> Tensor:
        low, bound = self._screen.queries(queries)
        above = torch.zeros(len(queries), dtype=torch.bool, device=queries.device)
        # Scores are compared as `nearest` reports them, rounded to float32: that is the 1e-7.
        floor = self._screen.needed(torch.full_like(bound, t) - 1e-7, bound)
        for start in range(0, len(self), block):
            seen = self._screen.look(low, start, min(start + block, len(self)))
            above |= (self._screen.surely(seen.groups, bound[:, None]) >= t + 1e-7).any(1)
            query, column = seen.at_least(torch.where(above, torch.inf, floor))
            row = self._first[column + start]
            hit = self._exact(queries, query, row).float().double() >= t
            above[query[hit]] = True
        return above

    def _exact(self, queries: Tensor, query: Tensor, row: Tensor) -> Tensor:
        """(P,) float64 scores of pairs; copies of a row, which are many in some galleries, are scored once."""
        keys, back = torch.unique(query * len(self) + self._first[row], return_inverse=True)
        size = max(1, _NUMBERS // queries.shape[1])
        parts = [
            _sum_rows(queries[k // len(self)].double() * self._rows[k % len(self)].double()) for k in torch.split(keys, size)
        ]
        return torch.cat(parts)[back]


def _sum_rows(products: Tensor) -> Tensor:
    """(n,) sums of (n, d), halves added to halves: equal rows sum to the last bit alike, wherever they stand."""
    while products.shape[1] > 1:
        half = products.shape[1] // 2
        added = products[:, :half] + products[:, half : 2 * half]
        products = torch.cat([added, products[:, 2 * half :]], 1) if products.shape[1] % 2 else added
    return products[:, 0]


def _unit_rows(values: ArrayLike | Tensor, device: torch.device, what: str) -> Tensor:
    """(n, d) float32 on the device, checked in float64 slice by slice."""
    rows = values if isinstance(values, Tensor) else torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    if rows.ndim != 2 or rows.shape[1] < 1:
        raise ValueError(f"{what}: a matrix (rows, d) is needed, not an array of shape {tuple(rows.shape)}")
    rows = rows.detach().to(device, torch.float32).contiguous()
    for at in range(0, len(rows), 16384):
        length = rows[at : at + 16384].double().norm(dim=1)
        bad = ~((length - 1).abs() <= UNIT_TOLERANCE)  # NaN is not <= anything
        if bad.any():
            first = int(bad.nonzero()[0])
            raise ValueError(f"{what}: row {at + first} has length {float(length[first]):.6g}, not 1")
    return rows


def _first_copies(rows: Tensor) -> Tensor:
    """(M,) int64: the lowest index of a row equal to each."""
    seen: dict[bytes, int] = {}
    # Digests, for whole rows as keys would hold the gallery once more. Adding 0 makes -0 and 0 the same bytes.
    digests = (blake2b(row + 0.0, digest_size=16).digest() for row in rows.cpu().numpy())
    listed = (seen.setdefault(digest, i) for i, digest in enumerate(digests))
    return torch.tensor(list(listed), dtype=torch.int64, device=rows.device)
