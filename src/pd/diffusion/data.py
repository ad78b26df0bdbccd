"""What a model is trained on: images and their captions, wherever they come from."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TrainingData:
    """Images and captions, row by row. It knows nobody: no ids, no identities.

    Args:
        images: (N, H, W, C) uint8, C = 1 grey or 3 RGB.
        captions: N texts.
    """

    images: np.ndarray
    captions: list[str]

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or self.images.shape[-1] not in (1, 3):
            raise ValueError(f"images must be uint8 (N, H, W, 1 or 3), not {self.images.dtype} {self.images.shape}")
        if len(self.images) != len(self.captions):
            raise ValueError(f"{len(self.images)} images but {len(self.captions)} captions")

    def __len__(self) -> int:
        return len(self.captions)
