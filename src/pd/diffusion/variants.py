"""Augmentations that need pixels: mirror images and random crops, made before training and encoded as variants of an image."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from pd.config import ModelSettings
from pd.dataset.images import Pixels, mirrored
from pd.diffusion.randomness import Purpose, stream
from pd.seeds import derive


@dataclass(frozen=True)
class Variants:
    """The variants of each image of a data set.

    Attributes:
        seed: of the crops.
        crop: the smallest share of the side that a random square keeps; None: none is cut.
        crops: squares an image, each resized back to the image's size.
        flip: each of them mirrored as well.
    """

    seed: int
    crop: float | None
    crops: int
    flip: bool

    @classmethod
    def of(cls, settings: ModelSettings, seed: int) -> "Variants":
        """What settings ask for; seed is the training's."""
        return cls(derive(seed, "crops"), settings.crop, settings.crop_variants if settings.crop else 1, settings.flip)

    def __len__(self) -> int:
        return self.crops * (2 if self.flip else 1)

    def apply(self, images: Pixels, first: int, variant: int) -> Pixels:
        """One variant of some images.

        Args:
            images: (n, H, W, C) uint8.
            first: the data set's row of the first of them; they follow each other.
            variant: 0 to crops - 1 as they are or cropped, from there on the same mirrored.

        Returns:
            (n, H, W, C) uint8.
        """
        mirror, number = divmod(variant, self.crops)
        if self.crop is not None:
            images = np.stack([self._cropped(image, (first + at) * self.crops + number) for at, image in enumerate(images)])
        return mirrored(images) if mirror else images

    def _cropped(self, image: Pixels, index: int) -> Pixels:
        """A square of a random share of the shorter side, at a random place: all of it a function of (seed, index)."""
        assert self.crop is not None
        rng = stream(self.seed, Purpose.CROP, index)
        height, width, _ = image.shape
        side = round(min(height, width) * rng.uniform(self.crop, 1.0))
        top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
        square = image[top : top + side, left : left + side]
        picture = Image.fromarray(np.ascontiguousarray(square[:, :, 0] if square.shape[2] == 1 else square))
        return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS)).reshape(image.shape)
