import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pd.audit.attackers.choose import attacker
from pd.config import ReidSettings
from pd.dataset.private import PrivateDataset
from pd.errors import UserError
from pd.reid.embed import embed
from pd.reid.network import build, save


def test_a_network_of_pd_reid_is_used_as_it_is(orl: PrivateDataset, tmp_path: Path) -> None:
    network = build(ReidSettings(dim=16), seed=3)
    save(network, tmp_path / "reid")
    attacking = attacker(f"network:{tmp_path / 'reid'}")
    assert attacking.name == "network:reid"
    attacking.fit(orl.images[:2], orl.identities[:2], seed=0, steps=1)
    assert attacking.embed(orl.images[:9]) == pytest.approx(embed(network, orl.images[:9]), abs=1e-5)
    with pytest.raises(UserError, match="no re-identification network"):
        attacker(f"network:{tmp_path}")


class Session:
    """Stands for onnxruntime's: a network of 4 x 4 means, for batches of a fixed size."""

    def __init__(self, path: str, providers: list[str]) -> None:
        assert providers == ["CPUExecutionProvider"]
        if Path(path).read_bytes() != b"good":
            raise RuntimeError("no protobuf")

    def get_inputs(self) -> list[Any]:
        return [types.SimpleNamespace(name="data", shape=[4, 3, 16, 16])]

    def run(self, outputs: None, given: dict[str, Any]) -> list[Any]:
        images = given["data"]
        assert images.shape == (4, 3, 16, 16)
        assert images.dtype == np.float32
        assert np.abs(images).max() <= 1
        return [images.reshape(4, 3, 4, 4, 4, 4).mean(axis=(3, 5)).reshape(4, -1)]


def test_an_onnx_file_in_batches_of_its_own_size(orl: PrivateDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace(InferenceSession=Session))
    good, bad = tmp_path / "faces.onnx", tmp_path / "bad.onnx"
    good.write_bytes(b"good")
    bad.write_bytes(b"bad")
    attacking = attacker(f"onnx:{good}")
    assert attacking.name == "onnx:faces.onnx"
    rows = attacking.embed(orl.images[:6])
    assert rows.shape == (6, 48)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-4)
    assert attacking.embed(orl.images[5:6]) == pytest.approx(rows[5:], abs=1e-5)
    with pytest.raises(UserError, match=r"cannot be loaded \(RuntimeError\)"):
        attacker(f"onnx:{bad}")
    with pytest.raises(UserError, match="no file"):
        attacker(f"onnx:{tmp_path}/none.onnx")


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is not None, reason="onnxruntime is there")
def test_without_onnxruntime_the_way_to_get_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "faces.onnx").write_bytes(b"")
    with pytest.raises(UserError, match="pip install onnxruntime"):
        attacker(f"onnx:{tmp_path}/faces.onnx")
