import base64
import sys
from pathlib import Path

import numpy as np
import pytest
from refusals import refused_as
from torch.nn.functional import interpolate

from pd.audit.attackers.choose import attacker
from pd.config import ReidSettings
from pd.dataset.images import to_tensor
from pd.dataset.private import PrivateDataset
from pd.reid.embed import embed
from pd.reid.network import build, save


def test_a_network_of_pd_reid_is_used_as_it_is(orl: PrivateDataset, tmp_path: Path) -> None:
    network = build(ReidSettings(dim=16), seed=3)
    save(network, tmp_path / "reid")
    attacking = attacker(f"network:{tmp_path / 'reid'}")
    assert attacking.name == "network:reid"
    attacking.fit(orl.images[:2], orl.identities[:2], seed=0, steps=1)
    assert attacking.embed(orl.images[:9]) == pytest.approx(embed(network, orl.images[:9]), abs=1e-5)
    with refused_as("missing-weights", "audit.attackers"):
        attacker(f"network:{tmp_path}")


# Means of 4 x 4 pixels of (4, 3, 16, 16), in rows: `onnx.helper`'s AveragePool and Flatten, opset 17.
MEANS = base64.b64decode(
    "CAgSADqcAQpDCgRkYXRhEgVtZWFucyILQXZlcmFnZVBvb2wqFQoMa2VybmVsX3NoYXBlQARABKABByoQCgdzdHJpZGVzQARABKABBwoWCgVtZWFucxIEcm93"
    "cyIHRmxhdHRlbhIFbWVhbnNaHgoEZGF0YRIWChQIARIQCgIIBAoCCAMKAggQCgIIEGIWCgRyb3dzEg4KDAgBEggKAggECgIIMEIECgAQEQ=="
)


def test_an_onnx_file_in_batches_of_its_own_size(orl: PrivateDataset, tmp_path: Path) -> None:
    good, bad = tmp_path / "faces.onnx", tmp_path / "bad.onnx"
    good.write_bytes(MEANS)
    bad.write_bytes(MEANS[:-40])
    attacking = attacker(f"onnx:{good}")
    assert attacking.name == "onnx:faces.onnx"
    rows = attacking.embed(orl.images[:6])
    assert rows.shape == (6, 48)
    small = np.asarray(interpolate(to_tensor(orl.images[5:6]), size=(16, 16), mode="bicubic", antialias=True).clamp(-1, 1))
    means = small.reshape(3, 4, 4, 4, 4).mean(axis=(2, 4)).reshape(-1)
    assert rows[5] == pytest.approx(means / np.linalg.norm(means), abs=1e-5)
    assert attacking.embed(orl.images[5:6]) == pytest.approx(rows[5:], abs=1e-5)
    with refused_as("bad-weights", "audit.attackers"):
        attacker(f"onnx:{bad}")
    with refused_as("missing-weights", "audit.attackers"):
        attacker(f"onnx:{tmp_path}/none.onnx")


def test_without_onnxruntime_the_way_to_get_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "faces.onnx").write_bytes(b"")
    with refused_as("missing-package", "audit.attackers"):
        attacker(f"onnx:{tmp_path}/faces.onnx")
