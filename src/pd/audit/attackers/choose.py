"""Attackers by the names that settings use."""

import difflib
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TypeVar

import numpy as np

from pd.audit.attackers.base import Attacker
from pd.audit.attackers.distilled import Aird, Crrcd, Distilled, G2d
from pd.audit.attackers.frozen_backbone import open_clip_tower, timm_tower, torchvision_tower
from pd.audit.attackers.learned import Gradients, ImageNet, Learned, Whitened
from pd.audit.attackers.network import Network, Onnx
from pd.audit.attackers.thumbnails import Thumbnails
from pd.audit.copies import NAME as COPIES
from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images
from pd.errors import UserError
from pd.reid.spaces.whitening import Rows

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
            with _their_errors(f"attacker '{name}'", "it cannot be made", "mend the package that brings it"):
                made = brought[name].load()()
            return Brought(made)
        names = [*ATTACKERS, STRONG, *brought, *(f"{kind}:" for kind in LOCAL)]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
        raise UserError(
            f"unknown attacker '{name}'", code="unknown-name", where="audit.attackers", fix=f"did you mean '{near}'?"
        )
    return ATTACKERS[name]()


class Brought:
    """An attacker of somebody else's, checked.

    Args:
        made: has `name`, `fit` and `embed`, as `pd.audit.attackers.base.Attacker` says.

    Raises:
        UserError: it lacks one of them, or they cannot be called so. From `fit` and `embed`: these failed. From `embed`: it
            gave something else than rows of one width, each of unit length, or all zero where a picture shows nothing.
    """

    def __init__(self, made: Attacker) -> None:
        self._made, self._width = made, 0
        self.name = str(getattr(made, "name", "") or "")
        if isinstance(made, type):
            raise UserError(
                f"{made.__name__} is a class", code="bad-plug-in", where="audit.attackers", fix=f"make one: {made.__name__}()"
            )
        where = f"attacker '{self.name or type(made).__name__}'"
        for part, arguments in (("fit", ((0, 0), {"seed": 0, "steps": 0})), ("embed", ((0,), {}))):
            try:
                inspect.signature(getattr(made, part)).bind(*arguments[0], **arguments[1])
            except (AttributeError, TypeError):
                fix = "define name, fit(images, identities, *, seed, steps) and embed(images)"
                raise UserError(f"'{part}' cannot be called", code="bad-plug-in", where=where, fix=fix) from None
        if not self.name:
            raise UserError("it has no name", code="bad-plug-in", where=where, fix="give it an attribute `name`")

    def fit(self, images: Images, identities: Sequence[str], *, seed: int, steps: int) -> None:
        """As the attacker does, on pictures of its own: what it does to them changes nobody else's."""
        with _their_errors(f"attacker '{self.name}'", "fit failed"):
            own = images.copy() if isinstance(images, np.ndarray) else images
            self._made.fit(own, list(identities), seed=seed, steps=steps)

    def embed(self, images: Pixels) -> Rows:
        """As the attacker does, likewise, and checked."""
        with _their_errors(f"attacker '{self.name}'", "embed failed"):
            rows = np.asarray(self._made.embed(images.copy()))
        self._width = self._width or (rows.shape[-1] if rows.ndim else 0)
        if rows.ndim != 2 or rows.shape != (len(images), self._width) or rows.dtype.kind != "f":
            what = f"embed gave {rows.dtype} of shape {rows.shape} for {len(images)} images"
            fix = "give (N, d) float32, d always the same"
            raise UserError(what, code="bad-plug-in", where=f"attacker '{self.name}'", fix=fix)
        length = np.linalg.norm(rows, axis=1)
        if not np.allclose(length[length != 0], 1, atol=1e-3):  # a blank picture may resemble nothing
            what = "embed gave rows that are not of unit length, or not finite"
            raise UserError(what, code="bad-plug-in", where=f"attacker '{self.name}'", fix="divide each row by its norm")
        return rows.astype(np.float32)


@contextmanager
def _their_errors(where: str, what: str, fix: str = "mend it") -> Iterator[None]:
    """What somebody else's code raises, in one line: of its words nothing, for they may hold names of people."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        told = f"{what} ({type(error).__name__})"
        raise UserError(told, code="bad-plug-in", where=where, fix=f"{fix}; `pd --debug` shows where it failed") from error


def named(names: Sequence[Given]) -> list[Given | str]:
    """The names, with those that `strong` stands for in its place; each once."""
    return list(dict.fromkeys(one for name in names for one in (ATTACKERS if name == STRONG else [name])))


def choose_attackers(names: Sequence[str | Attacker]) -> dict[str, Attacker]:
    """Fresh attackers by the names that figures show: no folders of this machine, numbered where two would be the same.

    Attackers of others are checked: before the work that they can be called, and then what they give.

    Raises:
        UserError: there are none, or what `attacker` refuses.
    """
    if isinstance(names, str):
        raise UserError(f"'{names}' is no list", code="bad-value", where="audit.attackers", fix=f"write [{names}]")
    if not names:
        raise UserError(
            "no attacker", code="bad-value", where="audit.attackers", fix="name at least one; thumbnails is the simplest"
        )
    chosen: dict[str, Attacker] = {}
    for one in (attacker(name) if isinstance(name, str) else Brought(name) for name in named(names)):
        like = sum(name == one.name or name.startswith(f"{one.name} (") for name in (COPIES, *chosen))
        chosen[f"{one.name} ({like + 1})" if like else one.name] = one
    return chosen
