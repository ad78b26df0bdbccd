"""Attackers by the names that settings use."""

import difflib
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import TypeVar

from pd.audit.attackers.base import Attacker
from pd.audit.attackers.distilled import Aird, Crrcd, Distilled, G2d
from pd.audit.attackers.learned import Gradients, ImageNet, Learned, Whitened
from pd.audit.attackers.network import Network, Onnx
from pd.audit.attackers.thumbnails import Thumbnails
from pd.audit.attackers.tower import open_clip_tower, timm_tower, torchvision_tower
from pd.errors import UserError

ATTACKERS: dict[str, type[Learned] | type[Thumbnails] | type[Distilled]] = {
    kind.name: kind for kind in (ImageNet, Thumbnails, Whitened, Gradients, Crrcd, Aird, G2d)
}
Given = TypeVar("Given", str, "str | Attacker")
STRONG = "strong"
"""Stands for all of these, of which those are kept that find most: `pd.audit.attackers.strong`."""
LOCAL: dict[str, Callable[[str], Attacker]] = {
    "open_clip": open_clip_tower,
    "timm": timm_tower,
    "torchvision": torchvision_tower,
    "network": Network,
    "onnx": Onnx,
}
"""Kinds that are written `KIND:WHERE`, with weights on this machine."""


GROUP = "privacy_distillation.attackers"
"""Entry points of this group, of packages that are installed here, are attackers too: classes without arguments."""


def attacker(name: str) -> Attacker:
    """A fresh attacker, of this package or of an installed one that brings it by an entry point.

    Raises:
        UserError: no attacker of that name (the nearest is named), or its weights are not at hand.
    """
    kind, found, _ = name.partition(":")
    if found and kind in LOCAL:
        return LOCAL[kind](name)
    if name not in ATTACKERS:
        brought = {one.name: one for one in entry_points(group=GROUP)}
        if name in brought:
            made: Attacker = brought[name].load()()
            return made
        names = [*ATTACKERS, STRONG, *brought, *(f"{kind}:" for kind in LOCAL)]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
        raise UserError(f"unknown attacker '{name}'", where="audit.attackers", fix=f"did you mean '{near}'?")
    return ATTACKERS[name]()


def named(names: Sequence[Given]) -> list[Given | str]:
    """The names, with those that `strong` stands for in its place; each once."""
    return list(dict.fromkeys(one for name in names for one in (ATTACKERS if name == STRONG else [name])))


def choose_attackers(names: Sequence[str | Attacker]) -> dict[str, Attacker]:
    """Fresh attackers by the names that figures show: no folders of this machine, numbered where two would be the same.

    Attackers that were made elsewhere stay as they are.

    Raises:
        UserError: there are none, or what `attacker` refuses.
    """
    if not names:
        raise UserError("no attacker", where="audit.attackers", fix="name at least one; thumbnails is the simplest")
    chosen: dict[str, Attacker] = {}
    for one in (attacker(name) if isinstance(name, str) else name for name in named(names)):
        like = sum(name == one.name or name.startswith(f"{one.name} (") for name in chosen)
        chosen[f"{one.name} ({like + 1})" if like else one.name] = one
    return chosen
