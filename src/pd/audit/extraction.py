"""Extraction: pictures that a model makes again and again, and that are pictures of members.

Carlini et al., "Extracting Training Data from Diffusion Models" (arXiv 2301.13188, section 4): generate many for each prompt,
find cliques of near-identical samples, and compare. Their distances are numbers for their data; here hold-out people say what
is near: two samples are one picture when they are nearer to each other than pictures of two people come, and it is a
member's when it is nearer, for its distance to members' pictures at large, than a stranger's picture comes. Samples that are so
near to a member's picture, repeated or not, are counted beside: of images whose prompts nobody knows, or that were chosen among
many, each may be there once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pd.audit.cliques import cliques
from pd.audit.estimate import Estimate, number
from pd.audit.impostor_sets import Circles, Met
from pd.audit.nearest import Nearest, Similarity, in_blocks
from pd.audit.reidentification import Comparison, Reidentification, excess
from pd.audit.tiles import Tiles, likeness, tiles
from pd.dataset.parquet_images import Images

STRANGERS = 0.01  # share of hold-out pictures that may come so near by chance; none where they are fewer than 100
_OF_FIVE_HUNDRED = 10  # samples of a clique among 500 of a prompt, as in the paper; of fewer, the same share,
LEAST = 3  # but no fewer than these
FAR = np.float32(-1e3)  # below every likeness


@dataclass(frozen=True)
class Copies:
    """Samples that are somebody's picture.

    Attributes:
        members: share that are a member's.
        control: share that are a hold-out person's.
        excess: members less control.
        found: all of it.
    """

    members: Estimate
    control: Estimate
    excess: Estimate
    found: Reidentification = field(repr=False, compare=False)

    @classmethod
    def of(cls, found: Reidentification) -> "Copies":
        return cls(found.main, found.control, found.excess, found)


@dataclass(frozen=True)
class Extraction:
    """What was extracted from a set of samples.

    Attributes:
        extracted: share of samples in a clique whose middle is a member's picture.
        control: the same with hold-out people's, who cannot have been learnt.
        excess: extracted less control.
        copies: the same of all samples, in cliques or not: share that are a member's picture, beyond strangers'.
        images: member images extracted.
        cliques: how many were found.
        prompts: groups of samples.
        found: all of the cliques.
    """

    extracted: Estimate
    control: Estimate
    excess: Estimate
    copies: Copies
    images: int
    cliques: int
    prompts: int
    found: Reidentification = field(repr=False, compare=False)


def extract(
    samples: Images,
    prompts: Sequence[str],
    members: Images,
    member_identities: Sequence[str],
    holdout: Images,
    holdout_identities: Sequence[str],
    *,
    bootstrap: int,
    seed: int,
) -> Extraction:
    """Look for pictures of members among what is generated over and over.

    Args:
        samples: (N, H, W, C) uint8.
        prompts: what each was asked to show; equal for all where nobody knows.
        members: (M, H, W, C) uint8.
        member_identities: M names.
        holdout: (S, H, W, C) uint8, people whom no model has seen.
        holdout_identities: S names, at least two different ones.
        bootstrap: resamples of the intervals.
        seed: of the resampling.
    """
    rows, member_rows, holdout_rows = tiles(samples), tiles(members), tiles(holdout)
    who = number(holdout_identities)
    between_people = _nearest(holdout_rows, holdout_rows, (who, who)).score
    same_picture = -float(np.quantile(between_people, 1 - STRANGERS, method="higher"))
    middle = np.full(len(rows), -1)
    asked = number(prompts)
    found = 0
    for prompt in range(int(asked.max()) + 1):
        here = np.flatnonzero(asked == prompt)
        for clique in cliques(rows[here], same_picture, least(len(here))):
            middle[here[clique]] = here[clique[_middle(rows[here[clique]])]]
            found += 1
    circles = Circles.of(who, seed)
    strangers = _Relative.of(holdout_rows, member_rows)
    stranger_to_member = strangers.nearest(member_rows).score
    stranger_to_others = circles.strangers(lambda part: strangers.likeness(part, holdout_rows))

    def judge(pictures: Tiles, alone: npt.NDArray[np.bool_]) -> tuple[Comparison, Reidentification]:
        """Each sample by a picture in its stead; those alone resemble nobody, but keep whom they are nearest to."""
        shown = _Relative.of(pictures, member_rows)
        to_member = shown.nearest(member_rows)
        to_holdout, met = circles.samples(lambda part: shown.likeness(part, holdout_rows), len(pictures))
        compared = Comparison(
            Nearest(np.where(alone, FAR, to_member.score), to_member.row),
            to_holdout,
            Met(np.where(alone, FAR, met.score), met.circle),
            stranger_to_member,
            stranger_to_others,
            number(member_identities),
            who,
        )
        return compared, excess(compared, alpha=STRANGERS, bootstrap=bootstrap, seed=seed)

    alone = middle < 0
    compared, share = judge(rows[np.where(alone, np.arange(len(rows)), middle)], alone)
    copies = judge(rows, np.zeros(len(rows), dtype=bool))[1]
    images = len(np.unique(compared.to_member.row[share.hits]))
    prompted = int(asked.max()) + 1
    return Extraction(share.main, share.control, share.excess, Copies.of(copies), images, found, prompted, share)


@dataclass(frozen=True, eq=False)
class _Relative:
    """Pictures whose distances are told as shares of what lies between them and members' pictures at large.

    A blurred or pale picture is nearer to every picture than a sharp one is, and a copy of none; so the paper, too, divides by
    the distance to other pictures (section 5.1).
    """

    rows: Tiles
    at_large: npt.NDArray[np.float32]

    @classmethod
    def of(cls, rows: Tiles, members: Tiles) -> "_Relative":
        parts = in_blocks(
            lambda part: likeness(rows[part], members), len(rows), len(members), lambda _, block: block.mean(axis=1)
        )
        return cls(rows, np.maximum(-np.concatenate(parts), 1e-6))

    def likeness(self, part: slice, others: Tiles) -> Similarity:
        """(n, M) float32: 0 for the same picture, about -1 for any other."""
        return likeness(self.rows[part], others) / self.at_large[part, None]

    def nearest(self, others: Tiles) -> Nearest:
        return Nearest.in_blocks(lambda part: self.likeness(part, others), len(self.rows), len(others))


def nearest_pictures(samples: Images, members: Images) -> Nearest:
    """The member's picture that each sample comes nearest to; likeness 1: the same picture, about 0: any other."""
    rows, gallery = tiles(samples), tiles(members)
    found = _Relative.of(rows, gallery).nearest(gallery)
    return Nearest(1 + found.score, found.row)


def too_few(prompts: Sequence[str]) -> str:
    """Why nothing that is made again and again could be found; empty where it could.

    Args:
        prompts: what each sample was asked to show.
    """
    count = np.bincount(number(prompts))
    able = int(count[count >= LEAST].sum())
    if 2 * able >= len(prompts):
        return ""
    return (
        f"{len(prompts)} samples of {len(count)} prompts, {able} of them of prompts that have {LEAST} or more: a "
        "picture that is made again and again could not be seen"
    )


def least(samples: int) -> int:
    """Samples that make a clique among so many of one prompt."""
    return min(max(math.ceil(samples * _OF_FIVE_HUNDRED / 500), LEAST), _OF_FIVE_HUNDRED)


def _middle(rows: Tiles) -> int:
    """The sample nearest to the mean of its clique."""
    return int(np.square(rows - rows.mean(axis=0)).sum(axis=(1, 2)).argmin())


def _nearest(some: Tiles, others: Tiles, same: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None) -> Nearest:
    return Nearest.in_blocks(lambda rows: likeness(some[rows], others), len(some), len(others), same)
