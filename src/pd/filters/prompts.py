"""Prompts that at least k people share: the only captions that a sample may be asked for, or carry into a release."""

import hashlib
import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from pd.config import digest_of
from pd.dataset.shared import people_with, shared_labels
from pd.errors import UserError


@dataclass(frozen=True)
class Prompts:
    """Captions that are fit to be prompts.

    Attributes:
        texts: the captions, sorted.
        weights: how often each is asked for: the images that carry it, so that samples follow the members' frequencies, or 1.
        labels: name -> one value for each prompt; None where the images of that caption disagree or miss it.
        dropped_captions: distinct captions that too few people share.
        dropped_images: images that carry those.
    """

    texts: tuple[str, ...]
    weights: tuple[int, ...]
    labels: Mapping[str, tuple[float | None, ...]]
    dropped_captions: int = 0
    dropped_images: int = 0

    def prompt_of(self, sample: int, seed: int) -> int:
        """Index of the prompt of a sample: a draw by `weights` that only (seed, sample id) decide."""
        digest = hashlib.sha256(f"{seed}/prompt/{sample}".encode()).digest()
        point = int.from_bytes(digest[:8], "big") * self._cumulative[-1] >> 64
        return bisect_right(self._cumulative, point)

    def to_json(self) -> dict[str, Any]:
        """A JSON value that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Prompts":
        labels = {name: tuple(values) for name, values in value["labels"].items()}
        texts, weights = tuple(value["texts"]), tuple(value["weights"])
        return cls(texts, weights, labels, value["dropped_captions"], value["dropped_images"])

    def digest(self) -> str:
        """16 hex digits; equal for prompts that give equal samples and labels."""
        return digest_of([self.texts, self.weights, dict(self.labels)])

    @cached_property
    def _cumulative(self) -> list[int]:
        return list(accumulate(self.weights))


def generalise(
    captions: Sequence[str],
    identities: Sequence[str],
    labels: Mapping[str, npt.NDArray[np.float64]],
    k: int,
    generic: str,
) -> list[str]:
    """Captions that k people share, so that no model is taught, or asked for, the words of a few.

    A caption that fewer than k identities share, or that is only the generic one, is built anew from the image's yes-or-no
    labels; where that is rare too, the generic one stands.

    Args:
        captions: one for each member image.
        identities: who is in each member image.
        labels: name -> (N,) float64, NaN where missing; only those of 0 and 1 alone are put into words.
        k: identities that must share a caption.
        generic: what can be said of any image.
    """
    binary = {name: values for name, values in sorted(labels.items()) if set(values[np.isfinite(values)]) <= {0.0, 1.0}}
    built = [
        generic + "".join(f", {name}" for name, values in binary.items() if values[row] == 1) for row in range(len(captions))
    ]
    own, said = people_with(captions, identities), people_with(built, identities)
    return [
        caption if own[caption] >= k and caption != generic else words if said[words] >= k else generic
        for caption, words in zip(captions, built, strict=True)
    ]


def choose_prompts(
    captions: Sequence[str],
    identities: Sequence[str],
    labels: Mapping[str, npt.NDArray[np.float64]],
    k: int,
    *,
    balanced: bool = False,
) -> Prompts:
    """The captions that at least k identities share, with the labels that each implies.

    A caption implies a label when every one of its images has the same value; a mean or a value that some images lack
    would tell of single people what the caption does not. A label that fewer than k identities carry is left out, name and all.

    Args:
        captions: one for each member image.
        identities: who is in each member image.
        labels: name -> (N,) float64, NaN where missing.
        k: identities that must share a caption.
        balanced: ask for each equally often; else as often as the images carry it.

    Raises:
        UserError: no caption is shared by k identities.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, caption in enumerate(captions):
        rows[caption].append(row)
    people = people_with(captions, identities)
    texts = sorted(caption for caption, count in people.items() if count >= k)
    if not texts:
        raise UserError(
            f"no caption is shared by {k} member identities; the most shared one, by {max(people.values(), default=0)}",
            code="too-few-people",
            where="generate.prompt_k",
            fix="lower it, or give the images captions that several people share",
        )
    return Prompts(
        texts=tuple(texts),
        weights=tuple(1 if balanced else len(rows[text]) for text in texts),
        labels={
            name: tuple(_agreed(labels[name][rows[text]]) for text in texts) for name in shared_labels(labels, identities, k)
        },
        dropped_captions=len(rows) - len(texts),
        dropped_images=len(captions) - sum(len(rows[text]) for text in texts),
    )


def _agreed(values: npt.NDArray[np.float64]) -> float | None:
    """The value that all of (n,) have, else None (also where one is NaN)."""
    first = float(values[0])
    return first if math.isfinite(first) and bool((values == first).all()) else None
