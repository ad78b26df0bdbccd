"""Attackers that compare pictures in a space learned from other people (`pd.reid.spaces`)."""

from collections.abc import Sequence

from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images
from pd.reid.spaces.space import Space
from pd.reid.spaces.whitening import Rows


class Learned:
    """Features of one kind, projected so that what changes within a person's pictures is muted."""

    name: str
    travels = True  # to workers

    def __init__(self) -> None:
        self._space: Space | None = None

    def fit(self, images: Images, identities: Sequence[str], *, seed: int, steps: int) -> None:
        """Learn the projection from augmented views."""
        self._space = Space.learn(self.name, images, identities, seed=seed, steps=steps)

    def embed(self, images: Pixels) -> Rows:
        """(N, k) unit rows."""
        if self._space is None:
            raise RuntimeError("fit comes before embed")
        return self._space.embed(images)


class Whitened(Learned):
    """Thumbnails in a learned space. On the faces it beats plain correlation: fewer strangers pass."""

    name = "whitened"


class ImageNet(Learned):
    """A network that is not the filter's: another architecture, other data, other people."""

    name = "imagenet"


class Gradients(Learned):
    """Edges and where they are: no network, no colour, no light."""

    name = "gradients"
