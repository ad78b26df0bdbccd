"""What enough members share to leave the custodian: the one rule for captions, labels, values and names of columns.

A caption, a value or the name of a column describes whoever carries it. It may leave, as a prompt, as a column of the released
data, as a key of the released audit, only where at least k members carry it (`generate.prompt_k`). Hold-out people never count:
what they alone carry is known to nobody who sees the release, and must not be.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T", bound=Hashable)


def people_with(values: Iterable[T], identities: Iterable[str]) -> Counter[T]:
    """How many people carry each value.

    Args:
        values: one for each member image; what several images of a person repeat counts once.
        identities: who is in each.
    """
    return Counter(value for value, _ in set(zip(values, identities, strict=True)))


def shared(values: Iterable[T], identities: Iterable[str], k: int) -> set[T]:
    """The values that at least k people carry."""
    return {value for value, count in people_with(values, identities).items() if count >= k}


def shared_labels(labels: Mapping[str, npt.NDArray[np.float64]], identities: Sequence[str], k: int) -> list[str]:
    """Names of the labels that at least k people carry, sorted.

    A person carries a label where one of his images has a value of it that is neither missing nor 0: of a yes-or-no label,
    where it says yes.

    Args:
        labels: name -> (N,) float64 of member images, NaN where missing.
        identities: who is in each of N member images.
        k: people who must carry it.
    """
    who = np.asarray(identities, dtype=object)
    return sorted(name for name, values in labels.items() if len(set(who[np.nan_to_num(values) != 0])) >= k)
