"""Distilling methods by the names that settings use."""

from torch import Tensor, nn

from pd.config.recognisers import AirdSettings, CrrcdSettings, G2dSettings, MethodSettings
from pd.reid.methods.aird import Aird
from pd.reid.methods.crrcd import Crrcd
from pd.reid.methods.g2d import G2d


def criterion(method: MethodSettings, dim: int, centres: Tensor) -> nn.Module:
    """A method's losses: see `pd.reid.methods.base.Criterion`. `supcon` distils nothing and has none here."""
    if isinstance(method, CrrcdSettings):
        return Crrcd(method, dim, centres)
    if isinstance(method, AirdSettings):
        return Aird(method, dim, centres)
    assert isinstance(method, G2dSettings)
    return G2d(method, dim, centres)
