"""A fast first look at all scores, with a bound on how far it can be off.

The screen multiplies matrices in bfloat16 or float32 and is wrong by at most `bound`; what the bound cannot exclude is scored
again exactly by the gallery. So the answer does not depend on the precision of the screen, only the time does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pd.hardware import multiplies_bfloat16

# Rows may be this far from unit length; the bound allows for it.
UNIT_TOLERANCE = 1e-3
_GROUPS = 64  # of columns in a block, whose largest screened scores are kept: what the processor takes the maximum of quickest


@dataclass(frozen=True)
class Screened:
    """Screened scores of a block of queries against a block of rows.

    Attributes:
        scores: (B, columns) in the screen's dtype.
        groups: (B, G) float32, the largest score of each group of columns; group g holds columns g, g + G, g + 2G, ...
    """

    scores: Tensor
    groups: Tensor

    def at_least(self, low: Tensor) -> tuple[Tensor, Tensor]:
        """Positions (query, column), int64, of all scores >= low (B,) float32. Looks only into groups that reach it."""
        columns, width = self.scores.shape[1], self.groups.shape[1]
        query, group = (self.groups >= low[:, None]).nonzero(as_tuple=True)
        inside = group[:, None] + width * torch.arange(-(-columns // width), device=group.device)
        values = self.scores[query[:, None], inside.clamp_max(columns - 1)].float()
        hit = (values >= low[query, None]) & (inside < columns)
        pick, member = hit.nonzero(as_tuple=True)
        return query[pick], inside[pick, member]


class Screen:
    """Gallery rows in the screen's precision.

    The bound. Let q, g be a query and a row, q', g' their roundings to the screen's dtype (q' = q, g' = g in float32), and s
    what the machine gives for <q', g'>. With dq = q - q' and dg = g - g',

        <q, g> - <q', g'> = <dq, g> + <q', dg>,   |<q, g> - <q', g'>| <= |dq| |g| + |q'| |dg|      (Cauchy-Schwarz)

    where |dq| and |dg| are *measured* in float64, not assumed: about 0.0017 for bfloat16, whose worst case is 2^-8. Products
    of two bfloat16 are exact in float32. A sum of d terms in float32 in any order, fused or not, is off by at most
    gamma_d sum|q'_i g'_i| <= gamma_d |q'| |g'|, gamma_d = d u / (1 - d u) (Higham, *Accuracy and Stability of Numerical
    Algorithms*, 2nd ed., sections 3.1 and 4.2). On CPUs u = 2^-24; tensor cores align and cut instead of rounding, for which
    u = 2^-22 is taken. AMX, AVX-512 and tensor cores may flush numbers below 2^-126 to zero: at most 2 d of them, less than
    2^-100.
    A bfloat16 result is rounded once more when it is stored, by at most 2^-8 of the true product, hence (2^-8)(1 + 2^-7) of
    the stored score s; this part follows |s|, so `surely` and `needed` are functions of s, and both grow with s.

    Args:
        rows: (M, d) float32, rows of unit length to `UNIT_TOLERANCE`, on the device that searches.
        dtype: torch.bfloat16 or torch.float32.

    Attributes:
        summing: gamma_d |q| |g|, the bound of a float32 sum alone.
    """

    def __init__(self, rows: Tensor, dtype: torch.dtype) -> None:
        self.rows = rows.to(dtype)
        unit = 2.0**-22 if rows.is_cuda else 2.0**-24
        d = rows.shape[1]
        # A rounded row is at most (1 + 2^-8) UNIT long, UNIT = 1 + UNIT_TOLERANCE; together below 1.01.
        self.summing = d * unit / (1 - d * unit) * 1.01**2 + 2.0**-100
        self._storing = 2.0**-8 * (1 + 2.0**-7) if dtype == torch.bfloat16 else 0.0
        self._row_rounding = float(_rounding(rows, self.rows).max())

    def queries(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """(B, d) float32 queries -> the same in the screen's dtype, and the (B,) float32 bound before storing."""
        low = queries.to(self.rows.dtype)
        bound = _rounding(queries, low) * (1 + UNIT_TOLERANCE) + self._row_rounding * 1.01 + self.summing
        # 1e-6 more than covers the float32 arithmetic of the bound itself, here and in the two methods below.
        return low, (bound + 1e-6).float()

    def surely(self, screened: Tensor, bound: Tensor) -> Tensor:
        """What a pair of this screened score scores at least."""
        return screened - bound - self._storing * screened.abs()

    def needed(self, score: Tensor, bound: Tensor) -> Tensor:
        """The screened score below which a pair surely scores less than `score`."""
        short = score - bound
        return short / torch.where(short > 0, 1 + self._storing, 1 - self._storing)

    def look(self, queries: Tensor, start: int, stop: int) -> Screened:
        """Screen queries (B, d) in the screen's dtype against rows start..stop-1."""
        with _honest_precision():
            scores = queries @ self.rows[start:stop].T
        columns = scores.shape[1]
        width = min(_GROUPS, columns)
        whole = F.pad(scores, (0, -columns % width), value=-torch.inf)
        return Screened(scores, whole.view(len(scores), -1, width).amax(1).float())


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies bfloat16 matrices several times faster than float32, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    if device.type == "cpu" and torch.backends.mkldnn.enabled and multiplies_bfloat16():
        return torch.bfloat16
    return torch.float32


def _rounding(exact: Tensor, rounded: Tensor) -> Tensor:
    """(n,) float64 lengths of what rounding took away, in slices so that no float64 copy of all rows is held."""
    if exact.dtype == rounded.dtype:
        return torch.zeros(len(exact), dtype=torch.float64, device=exact.device)
    parts = zip(torch.split(exact, 16384), torch.split(rounded, 16384), strict=True)
    return torch.cat([(a.double() - b.double()).norm(dim=1) for a, b in parts])


@contextmanager
def _honest_precision() -> Iterator[None]:
    """float32 products in float32, and bfloat16 sums in float32, whatever the process has set: the bound rests on both."""
    matmul = torch.backends.cuda.matmul
    before = torch.get_float32_matmul_precision(), matmul.allow_bf16_reduced_precision_reduction
    torch.set_float32_matmul_precision("highest")
    matmul.allow_bf16_reduced_precision_reduction = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        matmul.allow_bf16_reduced_precision_reduction = before[1]
