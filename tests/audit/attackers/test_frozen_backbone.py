"""Attackers whose weights somebody has on this machine: small random ones here."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from refusals import refused_as
from safetensors.torch import save_file

from pd.audit.attack import Attack
from pd.audit.attackers.choose import attacker, choose_attackers
from pd.audit.clip import Clip
from pd.config import AuditSettings
from pd.dataset.private import PrivateDataset

CLIP = "ViT-S-32"


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torchvision.models import resnet18

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    save_file(resnet18(weights=None).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import open_clip

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clip") / "open_clip_model.safetensors"
    save_file({key: value.contiguous() for key, value in open_clip.create_model(CLIP).state_dict().items()}, path)
    return path


def test_a_torchvision_tower_finds_copies(resnet: Path, orl: PrivateDataset) -> None:
    name = f"torchvision:resnet18/{resnet}"
    attacking = attacker(name)
    assert attacking.name == "torchvision:resnet18/resnet.safetensors"
    learning, members, strangers = (
        part.where(np.arange(len(part)) % 5 == 0)
        for part in (orl.holdout_half("calibration", 7), orl.members(), orl.holdout_half("audit", 7))
    )
    attacking.fit(learning.images, learning.identities, seed=1, steps=5)
    found = Attack.by(attacking, members, strangers, alpha=0.05, bootstrap=50, seed=2)(members.images).found
    assert found.main.value == 1.0


def test_torchvision_weights_are_local_or_refused(resnet: Path, tmp_path: Path) -> None:
    with refused_as("bad-value", "torchvision:resnet18/FILE"):
        attacker("torchvision:resnet18")
    with refused_as("unknown-name", "'resnet18'"):
        attacker("torchvision:resnet81/x")
    with refused_as("missing-weights", "audit.attackers"):
        attacker(f"torchvision:resnet18/{tmp_path}/none.safetensors")
    with refused_as("bad-weights", "audit.attackers"):
        attacker(f"torchvision:resnet34/{resnet}")
    pickled = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1)}, pickled)
    with refused_as("bad-weights", "audit.attackers"):
        attacker(f"torchvision:resnet18/{pickled}")


def test_an_open_clip_tower_from_a_file_or_a_folder(clip: Path, orl: PrivateDataset, tmp_path: Path) -> None:
    attacking = attacker(f"open_clip:{CLIP}/{clip.parent}")
    attacking.fit(orl.images[:6], orl.identities[:6], seed=1, steps=2)
    rows = attacking.embed(orl.images[:4])
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-4)
    whole = Clip(f"open_clip:{CLIP}/{clip}", "audit.adherence")
    assert whole.texts(["a face", "a hat"]).shape == (2, whole.images(orl.images[:1]).shape[1])
    assert os.fspath(clip.parent) not in attacking.name


def test_open_clip_weights_are_never_fetched() -> None:
    with refused_as("missing-weights", "audit.attackers"):
        attacker("open_clip:ViT-B-32/laion2b_s34b_b79k")
    with refused_as("bad-value", "audit.attackers"):
        attacker("open_clip:ViT-B-32")
    with refused_as("unknown-name", "'ViT-B-32'"):
        attacker("open_clip:ViT-B-23/x")


def test_two_of_one_name_are_numbered(resnet: Path) -> None:
    link = resnet.parent / "again" / resnet.name
    link.parent.mkdir()
    link.symlink_to(resnet)
    names = [f"torchvision:resnet18/{path}" for path in (resnet, link)]
    assert list(choose_attackers([*names, "thumbnails", "thumbnails"])) == [
        "torchvision:resnet18/resnet.safetensors",
        "torchvision:resnet18/resnet.safetensors (2)",
        "thumbnails",
    ]
    with refused_as("bad-value", "audit.attackers"):
        choose_attackers(AuditSettings(attackers=()).attackers)
