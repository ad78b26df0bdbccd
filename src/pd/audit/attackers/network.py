"""Networks that tell people apart already, and are used as they are: one that `pd reid` wrote, or somebody's ONNX file."""

from collections.abc import Sequence
from pathlib import Path

from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images
from pd.errors import UserError
from pd.reid.onnx_network import OnnxNetwork
from pd.reid.spaces.whitening import Rows

_WHERE = "audit.attackers"


class Network:
    """`network:PATH`: a folder as `pd reid` writes it, of another run, with other people or another seed.

    Raises:
        UserError: no whole network there.
    """

    def __init__(self, name: str) -> None:
        from pd.reid.network import load

        path = Path(name.removeprefix("network:"))
        if not (path / "config.json").is_file():
            fix = "name a folder with config.json and model.safetensors, such as runs/OTHER/private/reid"
            raise UserError(f"no re-identification network at '{path}'", code="missing-weights", where=_WHERE, fix=fix)
        self.name = f"network:{path.resolve().name}"
        self._network = load(path)

    def fit(self, images: Images, identities: Sequence[str], *, seed: int, steps: int) -> None:
        """Nothing to learn."""

    def embed(self, images: Pixels) -> Rows:
        """(N, d) unit rows."""
        from pd.reid.embed import embed

        return embed(self._network, images)


class Onnx:
    """`onnx:PATH`: see `pd.reid.onnx_network.OnnxNetwork`, whose refusals it has."""

    def __init__(self, name: str, where: str = _WHERE) -> None:
        self._network = OnnxNetwork(Path(name.removeprefix("onnx:")), where)
        self.name = self._network.name

    def fit(self, images: Images, identities: Sequence[str], *, seed: int, steps: int) -> None:
        """Nothing to learn."""

    def embed(self, images: Pixels) -> Rows:
        """(N, d) unit rows."""
        return self._network.embed(images)
