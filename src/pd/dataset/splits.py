"""Who is a member and who is held out: by identity, in an order that only the seed and the name decide."""

import hashlib
from collections.abc import Iterable, Mapping

from pd.errors import UserError

MIN_MEMBERS = 2  # re-identification learns from pairs of different people
MIN_HOLDOUT = 4  # calibration and audit need 2 strangers each, and never the same


def hash_order(identities: Iterable[str], seed: int, purpose: str) -> list[str]:
    """The distinct identities in the order of SHA-256(seed, purpose, identity).

    A newcomer takes a place in the order and moves nobody relative to anybody else.
    """
    return sorted(set(identities), key=lambda name: hashlib.sha256(f"{seed}/{purpose}/{name}".encode()).digest())


def holdout_identities(identities: Iterable[str], seed: int, share: float) -> set[str]:
    """The identities to hold out: the first `share` of the hash order, leaving either side what it needs.

    Args:
        identities: names, repeats allowed.
        seed: the run's.
        share: of identities, between 0 and 1.

    Raises:
        UserError: fewer people than MIN_MEMBERS + MIN_HOLDOUT.
    """
    order = hash_order(identities, seed, "holdout")
    if len(order) < MIN_MEMBERS + MIN_HOLDOUT:
        raise UserError(
            f"{len(order)} identities; a run needs at least {MIN_MEMBERS + MIN_HOLDOUT}: "
            f"{MIN_MEMBERS} members, {MIN_HOLDOUT} held out",
            code="too-few-people",
            where="data",
            fix="add people",
        )
    return set(order[: min(max(round(share * len(order)), MIN_HOLDOUT), len(order) - MIN_MEMBERS)])


def check_splits(splits: Mapping[str, str], where: str) -> None:
    """Refuse a split column that gives either side too few people.

    Args:
        splits: identity -> `member` or `holdout`.
        where: the manifest, for the message.
    """
    for side, least in (("member", MIN_MEMBERS), ("holdout", MIN_HOLDOUT)):
        count = sum(split == side for split in splits.values())
        if count < least:
            raise UserError(
                f"the split column has {count} usable '{side}' identities, at least {least} are needed",
                code="too-few-people",
                where=where,
                fix="move people, or leave the column out: pd then splits by itself",
            )
