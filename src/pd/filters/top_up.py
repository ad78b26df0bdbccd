"""What is made besides the candidates, so that enough is kept of each prompt (`generate.per_prompt`) or label (`shares`).

Beyond the candidates, ids go on in blocks: of the first prompt, of the second, and so on, and again from the first. So each
prompt has a sequence of blocks without end, and which id shows which prompt does not depend on any threshold: another threshold
takes more or fewer of the same blocks.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.config import digest_of
from pd.errors import UserError
from pd.filters.prompts import Prompts

Counts = npt.NDArray[np.int64]

ROUNDS = 8  # decisions between two makings, at most; ours


@dataclass(frozen=True)
class BlockPrompts(Prompts):
    """Prompts of ids beyond the candidates: a block of each in turn.

    Attributes:
        start: the first such id.
        block: ids in a block.
    """

    start: int = 0
    block: int = 1

    @classmethod
    def after(cls, prompts: Prompts, start: int, block: int) -> "BlockPrompts":
        """The same prompts, in blocks."""
        return cls(
            prompts.texts, prompts.weights, prompts.labels, prompts.dropped_captions, prompts.dropped_images, start, block
        )

    def prompt_of(self, sample: int, seed: int) -> int:
        """Index of the prompt of a sample."""
        return (sample - self.start) // self.block % len(self.texts)

    def digest(self) -> str:
        return digest_of([super().digest(), self.start, self.block])

    def block_of(self, prompt: int, number: int) -> range:
        """The ids of a prompt's block of that number."""
        first = self.start + (number * len(self.texts) + prompt) * self.block
        return range(first, first + self.block)


@dataclass(frozen=True)
class Wanted:
    """What is asked of the kept candidates.

    Attributes:
        per_prompt: so many of each prompt; 0: none in particular.
        shares: label -> the share that shows it, of those whose prompt says whether they do.
    """

    per_prompt: int
    shares: Mapping[str, float]

    def check(self, prompts: Prompts) -> None:
        """Raises UserError for a share of a label that no two prompts differ in."""
        for name in self.shares:
            values = set(prompts.labels.get(name, ()))
            if not {0.0, 1.0} <= values:
                known = sorted(label for label, found in prompts.labels.items() if {0.0, 1.0} <= set(found))
                raise UserError(
                    f"'{name}' is no label that some prompts show and others do not",
                    code="unknown-name",
                    where="generate.shares",
                    fix=f"choose of {', '.join(known)}" if known else "leave generate.shares out: there is no such label",
                )

    def sides(self, prompts: Prompts, kept: Counts) -> dict[str, float]:
        """Which side of each label is short, 1 or 0, once enough is kept of each prompt: that one alone is added to.

        Nothing while a prompt is short: what is made of it may turn a share round.
        """
        found: dict[str, float] = {}
        if (kept < self.per_prompt).any():
            return found
        for name, share in self.shares.items():
            ones, zeros = _counts(prompts, kept, name)
            found[name] = 1.0 if ones < share * (ones + zeros) else 0.0
        return found

    def off(self, prompts: Prompts, kept: Counts) -> list[str]:
        """In words, which shares are not what was asked for, by more than one kept candidate or a hundredth of them."""
        told = []
        for name, share in self.shares.items():
            ones, zeros = _counts(prompts, kept, name)
            total = ones + zeros
            if abs(ones - share * total) > max(1.0, 0.01 * total):
                told.append(f"{name}: {ones / total:.2f} instead of {share:g}")
        return told

    def blocks(self, prompts: Prompts, kept: Counts, asked: Counts, sides: Mapping[str, float], block: int) -> Counts:
        """(P,) blocks of each prompt to make next; all 0: there is enough.

        Args:
            prompts: P of them.
            kept: (P,) how many are kept of each.
            asked: (P,) how many were made of each.
            sides: as `sides` says.
            block: ids in a block.
        """
        rates = (kept + 1) / (asked + 2)  # Laplace's: nothing kept so far is not nothing ever
        lacking = np.maximum(self.per_prompt - kept, 0)
        wanted = np.where(lacking > 0, np.ceil(lacking / (block * rates)), 0).astype(np.int64)
        if wanted.any():
            return wanted
        for name, side in sides.items():
            share = self.shares[name] if side else 1 - self.shares[name]
            ones, zeros = _counts(prompts, kept, name)
            here, there = (ones, zeros) if side else (zeros, ones)
            short = share * there / (1 - share) - here
            if short <= 0.5:
                continue
            rows = [row for row, value in enumerate(prompts.labels[name]) if value == side]
            rate = (kept[rows].sum() + 1) / (asked[rows].sum() + 2)
            wanted[rows] += _dealt(math.ceil(short / (block * rate)), [prompts.weights[row] for row in rows])
        return wanted


def within(wanted: Counts, room: int) -> Counts:
    """(P,) the same, or where that is more than `room` blocks in all as many of each as fit: those who want least first."""
    given, left = np.zeros_like(wanted), room
    for place, row in enumerate(np.argsort(wanted, kind="stable")):
        given[row] = min(wanted[row], left // (len(wanted) - place))
        left -= int(given[row])
    for row in np.argsort(wanted, kind="stable"):
        more = min(int(wanted[row] - given[row]), left)
        given[row] += more
        left -= more
    return given


def counted(prompts: Prompts, texts: Sequence[str], rows: npt.NDArray[np.bool_]) -> Counts:
    """(P,) how many of these rows carry each prompt."""
    at = {text: row for row, text in enumerate(prompts.texts)}
    found = [at[text] for text, here in zip(texts, rows, strict=True) if here and text in at]
    return np.bincount(np.array(found, np.int64), minlength=len(prompts.texts)).astype(np.int64)


def _counts(prompts: Prompts, kept: Counts, name: str) -> tuple[int, int]:
    """How many are kept of the prompts that show a label, and of those that do not."""
    values = prompts.labels[name]
    ones, zeros = (int(sum(int(count) for count, value in zip(kept, values, strict=True) if value == side)) for side in (1, 0))
    return ones, zeros


def _dealt(blocks: int, weights: Sequence[int]) -> Counts:
    """(n,) so many blocks, by weight; largest remainders first."""
    exact = blocks * np.array(weights, np.float64) / sum(weights)
    given = np.floor(exact).astype(np.int64)
    order = np.argsort(given - exact, kind="stable")
    given[order[: blocks - int(given.sum())]] += 1
    return given
