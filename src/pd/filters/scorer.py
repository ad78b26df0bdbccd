"""The likeness of images to the members, by both detectors."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pd.config import digest_of
from pd.dataset.images import mirrored
from pd.dataset.parquet_images import Images, blocks
from pd.errors import UserError
from pd.filters.descriptor import describe
from pd.filters.duplicate import SKETCH, sketches
from pd.filters.families import ALTERED
from pd.filters.gallery import GALLERY_FILES, MemberGallery, load_gallery
from pd.filters.near_copy import POSES
from pd.filters.space_rows import EACH
from pd.reid.embed import embed
from pd.reid.gallery import Gallery
from pd.reid.network import load, network_folders
from pd.reid.sharded import ShardedGallery
from pd.store.files import digest_file

NETWORK_FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True)
class Scores:
    """Likeness of N images to the members.

    Attributes:
        score: (N,) float32, re-identification: the largest cosine over all members, mirror image included.
        nearest: id of the member image that it is with.
        near_copy: (N,) float32, the near-copy detector's largest cosine.
        near_copy_nearest: id of the member image that it is with.
        further: (N, K - 1) float32, re-identification by each further one of K networks.
        sketch: (N, SKETCH) int8, by which near-duplicates are found.
        families: learned space -> (N,) float32, the largest cosine in it.
    """

    score: NDArray[np.float32]
    nearest: list[str]
    near_copy: NDArray[np.float32]
    near_copy_nearest: list[str]
    further: NDArray[np.float32]
    sketch: NDArray[np.int8]
    families: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


class OpensGallery(Protocol):
    """Stands for a gallery that is held elsewhere; small enough to be sent to a worker."""

    def open(self) -> MemberGallery:
        """The gallery."""


class Scorer:
    """Scores images against the members; loads the networks and the gallery once.

    Args:
        reid_folder: what `pd.reid.network.save_all` wrote.
        gallery: the folder that `pd.filters.gallery.build_gallery` wrote, or what opens that gallery where it lies.
        device: where networks and searches run.
    """

    def __init__(self, reid_folder: Path, gallery: Path | OpensGallery, device: str = "cpu") -> None:
        self._networks = [load(folder).to(torch.device(device)) for folder in network_folders(reid_folder)]
        self._members = load_gallery(gallery, device) if isinstance(gallery, Path) else gallery.open()
        if len(self._members.reid) != len(self._networks):
            raise UserError(
                f"{len(self._networks)} networks, but a gallery for {len(self._members.reid)}",
                code="other-inputs",
                where=str(reid_folder),
                fix="build it again: pd reid",
            )

    @property
    def networks(self) -> list[nn.Module]:
        """The re-identification networks."""
        return list(self._networks)

    def score(self, images: NDArray[np.uint8], own: NDArray[np.int64] | None = None) -> Scores:
        """Score (N, H, W, C) uint8; nothing depends on which images are scored together but the last bits of a sum.

        Args:
            images: to score.
            own: (N,) of images that are in the gallery, which one each is: that one is not compared with. None: all are.
        """
        if not len(images):
            none = np.zeros((0, SKETCH), np.float32)
            nobody = {space.kind: none[:, 0] for space in self._members.spaces}
            nobody |= {ALTERED: none[:, 0]} if self._members.altered else {}
            return Scores(none[:, 0], [], none[:, 0], [], none[:, : len(self._networks) - 1], none.astype(np.int8), nobody)
        (score, member), *others = (
            most_similar(gallery, embed(network, images), embed(network, images, mirror=True), own)
            for network, gallery in zip(self._networks, self._members.reid, strict=True)
        )
        further = np.stack([like for like, _ in others], axis=1) if others else np.zeros((len(images), 0), np.float32)
        described, compare = describe(images), self._members.detector.compare
        turned = compare(describe(mirrored(images)))
        near_copy, pose = most_similar(self._members.near_copy, compare(described), turned, own, len(POSES))
        families = {
            space.kind: nearest_row(gallery, space.embed(images), own, EACH)[0]
            for space, gallery in zip(self._members.spaces, self._members.families, strict=True)
        }
        if self._members.altered:
            families[ALTERED] = self._members.altered.score(images, own)
        named = self._names(member), self._names(pose // len(POSES))
        return Scores(score, named[0], near_copy, named[1], further, sketches(described), families)

    def _names(self, index: NDArray[np.int64]) -> list[str]:
        return [self._members.ids[i] for i in index]


def score_in_blocks(scorer: Scorer, images: Images, own: NDArray[np.int64] | None = None) -> Scores:
    """What `scorer.score` says of images in memory or in files, however many."""
    parts = [scorer.score(block, None if own is None else own[rows]) for rows, block in blocks(images)]
    if len(parts) < 2:
        return parts[0] if parts else scorer.score(images[:0])
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Scores)}
    return Scores(**{name: _joined(found) for name, found in columns.items()})


def _joined(parts: list[Any]) -> Any:
    """Arrays, lists, or mappings to arrays, one after the other."""
    if isinstance(parts[0], Mapping):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else [one for part in parts for one in part]


def most_similar(
    gallery: Gallery | ShardedGallery,
    plain: NDArray[np.float32],
    turned: NDArray[np.float32],
    own: NDArray[np.int64] | None = None,
    each: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The larger of the likenesses of images and their mirror images, (N,) each, and the gallery rows they are with.

    Args:
        gallery: what they are compared with.
        plain: (N, d) float32, unit rows of the images.
        turned: (N, d) float32, unit rows of their mirror images.
        own: (N,) an image of the gallery for each, whose rows do not count; None: all do.
        each: rows that an image has in the gallery.
    """
    (one, at_one), (two, at_two) = (nearest_row(gallery, rows, own, each) for rows in (plain, turned))
    return np.maximum(one, two), np.where(two > one, at_two, at_one)


def nearest_row(
    gallery: Gallery | ShardedGallery, rows: NDArray[np.float32], own: NDArray[np.int64] | None, each: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The best row of each query, but for those of its own image."""
    if own is None:
        return gallery.nearest(rows)
    scores, index = gallery.top_k(rows, each + 1)  # one more than are its own
    best = np.arange(len(rows)), (index // each != own[:, None]).argmax(axis=1)
    return scores[best], index[best]


def scorer_digest(reid_folder: Path, gallery_folder: Path) -> str:
    """16 hex digits of the networks and the gallery: what scores depend on. Thresholds beside them do not count."""
    files = [folder / name for folder in network_folders(reid_folder) for name in NETWORK_FILES]
    files += [gallery_folder / name for name in GALLERY_FILES]
    return digest_of([digest_file(file) if file.exists() else None for file in files])
