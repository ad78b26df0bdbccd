"""Attackers by the names that settings use."""

import difflib

from pd.audit.attackers.base import Attacker
from pd.audit.attackers.imagenet import ImageNet
from pd.audit.attackers.thumbnails import Thumbnails
from pd.audit.attackers.whitened import Whitened
from pd.errors import UserError

ATTACKERS: dict[str, type[Attacker]] = {kind.name: kind for kind in (ImageNet, Thumbnails, Whitened)}


def attacker(name: str) -> Attacker:
    """A fresh attacker.

    Raises:
        UserError: no attacker of that name; the nearest is named.
    """
    kind = ATTACKERS.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, ATTACKERS, n=1, cutoff=0.0)[0]
        raise UserError(f"unknown attacker '{name}'", where="audit.attackers", fix=f"did you mean '{near}'?")
    return kind()
