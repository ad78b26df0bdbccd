"""The rows that member images put into the galleries, as a function for the mapper."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import nn

from pd.classify.task import digest_of_array
from pd.config import digest_of
from pd.dataset.mapping import MakeRows, OfImages, array_of, columns
from pd.dataset.parquet_images import Images, images_digest
from pd.filters.near_copy import POSES, NearCopyDetector
from pd.filters.space_rows import EACH, both_ways, space_digest, unfolded
from pd.reid.embed import embed
from pd.reid.spaces.space import Space

_BATCH = 256
_FAMILY = "family/"


@dataclass(frozen=True, eq=False)
class GalleryRows(OfImages):
    """The rows that member images put into galleries, a row an image; see `gallery_arrays`.

    Args:
        networks: the re-identification networks.
        detector: of near copies.
        spaces: the learned spaces.
        images: (M, H, W, C) uint8, in memory or in files.
    """

    networks: Sequence[nn.Module]
    detector: NearCopyDetector
    spaces: Sequence[Space]
    images: Images

    batch = _BATCH

    @cached_property
    def key(self) -> str:
        weights = [value for network in self.networks for value in network.state_dict().values()]
        arrays = [*(value.cpu().numpy() for value in weights), self.detector.axes]
        told = [*map(digest_of_array, arrays), *map(space_digest, self.spaces)]
        return digest_of([told, images_digest(self.images)])

    def open(self, device: str) -> MakeRows:
        networks = [network.to(torch.device(device)) for network in self.networks]

        def make(rows: range) -> pa.Table:
            images = self.images[rows.start : rows.stop]
            arrays = {f"reid/{k}": embed(network, images) for k, network in enumerate(networks)}
            arrays["near_copy"] = self.detector.gallery_rows(images).reshape(len(images), -1)
            for space in self.spaces:
                arrays[_FAMILY + space.kind] = both_ways(space, images).reshape(len(images), -1)
            return columns(arrays)

        return make

    def gallery_arrays(self, table: pa.Table) -> tuple[list[NDArray[Any]], NDArray[Any], dict[str, NDArray[Any]]]:
        """Of all rows: each network's (M, d), the detector's (len(POSES) * M, k), and each space's (EACH * M, k)."""
        reid = [array_of(table, f"reid/{k}") for k in range(len(self.networks))]
        near_copy = unfolded(array_of(table, "near_copy"), len(POSES))
        return reid, near_copy, {s.kind: unfolded(array_of(table, _FAMILY + s.kind), EACH) for s in self.spaces}
