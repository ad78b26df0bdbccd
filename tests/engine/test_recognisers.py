"""Networks of several methods, trained for a filter without Ray: in their order, resumed, and read back by who scores."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pd.config import parse_settings
from pd.dataset.private import PrivateDataset
from pd.engine.recognisers import recognisers
from pd.filters.prepare import prepare
from pd.filters.scorer import Scorer
from pd.progress import Reporter
from pd.reid.network import network_folders
from pd.stages.graph import BY_NAME
from pd.stages.reid import CALIBRATION, PUBLIC, others_of


@pytest.fixture(scope="module")
def real() -> PrivateDataset:
    chance = np.random.default_rng(0)
    coarse = chance.uniform(0, 200, (12, 4, 4))
    images = [np.kron(one, np.ones((4, 4))) + chance.normal(20, 8, (16, 16)) for one in coarse for _ in range(4)]
    names = [f"p{k // 4}" for k in range(48)]
    splits = ["member" if k < 24 else "holdout" for k in range(48)]
    pixels = np.clip(np.stack(images), 0, 255).astype(np.uint8)[..., None]
    return PrivateDataset([str(k) for k in range(48)], pixels, names, splits, [""] * 48, {})


def settings_of(*more: str):
    quick = [
        "reid.steps=2",
        "reid.dim=8",
        "reid.identities_per_batch=4",
        "reid.spaces=[]",
        "data.size=16",
        "filter.families=[]",
    ]
    return parse_settings({}, [*quick, *more])


def test_networks_of_several_methods_vote(real: PrivateDataset, tmp_path: Path) -> None:
    settings = settings_of("reid.method=[supcon, crrcd, g2d]")
    others, whose = others_of(settings, real)
    assert whose == CALIBRATION
    found = recognisers(real.members(), settings, tmp_path / "work", Reporter(), others)
    assert [network.name for network in found] == ["small", "small", "reformed"]
    trainings = sorted(path.name for path in (tmp_path / "work").iterdir() if not path.name.startswith("pixels"))
    # supcon is the others' teacher, too; g2d is the encoder's inpainting, its tuning, and the reformer.
    assert len(trainings) == 5
    again = recognisers(real.members(), settings, tmp_path / "work", Reporter(), others)
    for one, two in zip(found, again, strict=True):
        assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())
    prepare(real, found, settings, tmp_path / "reid")
    assert len(network_folders(tmp_path / "reid")) == 3
    scores = Scorer(tmp_path / "reid", tmp_path / "reid").score(real.images[:4])
    assert scores.further.shape == (4, 2)
    assert (scores.score > 0.999).all()  # members' own pictures


def test_absent_a_method_makes_the_networks_that_supcon_makes(real: PrivateDataset, tmp_path: Path) -> None:
    one, two = (
        recognisers(real.members(), settings_of(*more), tmp_path / str(k), Reporter())[0].state_dict()
        for k, more in enumerate(([], ["reid.method=supcon"]))
    )
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_the_encoders_people_are_the_public_ones_where_there_are_any(real: PrivateDataset, tmp_path: Path) -> None:
    from PIL import Image

    for k in range(4):
        (tmp_path / f"other{k}").mkdir()
        Image.fromarray(np.random.default_rng(k).integers(0, 255, (16, 16), dtype=np.uint8)).save(tmp_path / f"other{k}/a.png")
    asked = settings_of("reid.method=g2d", f"public.path={tmp_path}")
    others, whose = others_of(asked, real)
    assert whose == PUBLIC
    assert others is not None
    assert len(others) == 4
    assert others_of(settings_of("reid.method=crrcd", f"public.path={tmp_path}"), real) == (None, "")
    source = BY_NAME["reid"].source
    assert source is not None
    assert source(asked) != source(settings_of("reid.method=g2d"))
    assert source(settings_of(f"public.path={tmp_path}")) == ""  # changes nothing where nobody learns from them
