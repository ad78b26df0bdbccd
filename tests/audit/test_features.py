"""What usefulness is measured in: pd's own features, or an encoder of the user's, from weights on this machine."""

from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused_as
from safetensors.torch import save_file

from pd.audit.attackers.choose import attacker
from pd.audit.features import encoder
from pd.audit.quality import Quality
from pd.audit.subjects import Subjects
from pd.config import AuditSettings
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset
from pd.errors import UserError

ARCHITECTURE = "test_vit"  # timm's own for tests: 40 kB


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import timm

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("timm") / "xray.safetensors"
    save_file(timm.create_model(ARCHITECTURE, pretrained=False, num_classes=5).state_dict(), path)  # the head goes
    return path


@pytest.fixture(scope="module")
def few(orl: PrivateDataset) -> PrivateDataset:
    return orl.where(np.arange(len(orl)) % 4 == 0)


def test_a_network_of_timm_measures_and_attacks(weights: Path, few: PrivateDataset) -> None:
    name = f"timm:{ARCHITECTURE}/{weights}"
    found = encoder(name)
    assert found.name == f"timm:{ARCHITECTURE}/xray.safetensors features"
    rows, blurred = found.whole(few.images[:5]), found.low_passed(few.images[:5])
    assert rows.shape == blurred.shape
    assert np.isfinite(rows).all()
    assert not np.allclose(rows, blurred)
    np.testing.assert_allclose(found.whole(few.images[2:3]), rows[2:3], atol=1e-5)
    one = attacker(name)
    one.fit(few.images[:8], few.identities[:8], seed=1, steps=2)
    assert np.linalg.norm(one.embed(few.images[:3]), axis=1) == pytest.approx(1, abs=1e-4)


def test_all_figures_of_quality_name_it_and_stand_beside_the_floor(weights: Path, few: PrivateDataset) -> None:
    settings = AuditSettings(features=f"timm:{ARCHITECTURE}/{weights}", samples=30, bootstrap=50, utility_steps=20)
    members = few.members()
    samples = SyntheticDataset([str(k) for k in range(30)], members.images[:30], ["a face"] * 30, {})
    found = Quality(Subjects(few, settings, 7)).of(samples)
    fidelity = found["fidelity"]
    assert fidelity is not None
    assert fidelity.kid is not None
    assert fidelity.fid is not None
    assert fidelity.kid.features == f"timm:{ARCHITECTURE}/xray.safetensors features"
    assert str(weights.parent) not in str(found)
    for distance in (fidelity.kid, fidelity.fid):
        assert distance.floor is not None
        assert distance.floor.n == 30
        assert distance.value < distance.floor.value  # members' own pictures; those of other people are further off


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("inception", "no encoder"),
        ("timm:no_such_net/x", "did you mean"),
        (f"timm:{ARCHITECTURE}", "not on this machine"),
        ("onnx:none.onnx", "no file"),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "not on this machine"),
    ],
)
def test_what_is_not_there_is_refused_by_the_settings_name(name: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        encoder(name)
    assert "audit.features" in str(refused.value)


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.bin")
    with refused_as("bad-weights", "audit.features"):
        encoder(f"timm:{ARCHITECTURE}/{tmp_path / 'weights.bin'}")
