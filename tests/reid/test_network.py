import json
from pathlib import Path

import pytest
import torch
from refusals import refused_as
from safetensors.torch import save_file

from pd.config import ReidSettings
from pd.errors import UserError
from pd.reid.backbones import Resized, build_backbone
from pd.reid.network import EmbeddingNetwork, build, load, save

TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a small open_clip model, known to open_clip from here on."""
    import open_clip

    path = tmp_path_factory.mktemp("open_clip") / "pd-test-tiny.json"
    path.write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(path)
    return "open_clip:pd-test-tiny"


def faces(n: int, side: int) -> torch.Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("side", [16, 24, 32, 64, 128])
def test_rows_have_unit_length_at_any_size(side: int) -> None:
    network = build(ReidSettings(dim=24)).eval()
    rows = network(faces(3, side))
    assert rows.shape == (3, 24)
    assert rows.dtype == torch.float32
    assert torch.allclose(rows.norm(dim=1), torch.ones(3), atol=1e-5)


def test_a_row_does_not_depend_on_its_batch() -> None:
    network, images = build(ReidSettings()).eval(), faces(9, 32)
    together = network(images)
    alone = torch.cat([network(images[i : i + 1]) for i in range(9)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_flat_images_give_rows_too() -> None:
    rows = build(ReidSettings()).eval()(torch.zeros(2, 3, 32, 32))
    assert torch.isfinite(rows).all()


def test_small_ignores_brightness_and_contrast() -> None:
    backbone, _ = build_backbone("small", None)
    images = faces(4, 32)
    features = backbone.eval()(images)
    assert torch.allclose(backbone(images * 0.5 + 0.2), features, rtol=0.1, atol=0.05 * features.abs().max().item())


def test_seed_gives_the_weights_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    states = [build(ReidSettings(), seed).state_dict() for seed in (5, 5, 6)]
    assert torch.equal(torch.rand(2), wanted)
    assert all(torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True))
    assert not torch.equal(states[0]["project.weight"], states[2]["project.weight"])


def test_resnet50_takes_a_local_state_dict_with_its_classifier(tmp_path: Path) -> None:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    public = resnet50(weights=None)
    save_file(public.state_dict(), tmp_path / "resnet.safetensors")
    network = build(ReidSettings(backbone="resnet50", weights=str(tmp_path / "resnet.safetensors"), freeze=True))
    assert isinstance(network.backbone, Resized)
    assert torch.equal(network.backbone.network.conv1.weight, public.conv1.weight)
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["project.weight"]
    assert network.train().project.training
    assert not network.backbone.training


def test_open_clip_tower_is_resized_normalised_and_loaded(tiny_clip: str, tmp_path: Path) -> None:
    import open_clip

    torch.manual_seed(1)
    whole = open_clip.create_model("pd-test-tiny").eval()
    save_file({k: v.clone() for k, v in whole.state_dict().items()}, tmp_path / "whole.safetensors")
    tower = {k: v.clone() for k, v in whole.visual.state_dict().items()}
    save_file(tower, tmp_path / "tower.safetensors")
    images = faces(2, 32)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    wanted = whole.encode_image(((images + 1) / 2 - mean) / std)
    for name in ("whole", "tower"):
        backbone, features = build_backbone(tiny_clip, str(tmp_path / f"{name}.safetensors"))
        assert features == 16
        assert torch.allclose(backbone.eval()(images), wanted, atol=1e-5)
        assert backbone(faces(2, 48)).shape == (2, 16)


@pytest.mark.parametrize("backbone", ["small", "open_clip"])
def test_load_brings_back_what_was_saved(backbone: str, tmp_path: Path, tiny_clip: str) -> None:
    settings = ReidSettings(backbone=tiny_clip if backbone == "open_clip" else backbone, dim=8)
    network = build(settings, seed=4).eval()
    save(network, tmp_path / "reid")
    again = load(tmp_path / "reid")
    assert isinstance(again, EmbeddingNetwork)
    assert not again.training
    assert torch.equal(again(faces(2, 32)), network(faces(2, 32)))
    assert sorted(path.name for path in (tmp_path / "reid").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("smal", "'small'"),
        ("ResNet-50", "'resnet50'"),
        ("open_clip:ViT-B32", "'open_clip:ViT-B-32'"),
        ("openclip:RN50", "'open_clip:RN50'"),
    ],
)
def test_wrong_backbone_names_the_nearest(name: str, nearest: str) -> None:
    with refused_as("unknown-name", "reid.backbone") as caught:
        build(ReidSettings(backbone=name))
    assert nearest in str(caught.value)


def test_wrong_weights_are_one_clear_line(tmp_path: Path, tiny_clip: str) -> None:
    with refused_as("missing-weights", "reid.weights") as caught:
        build(ReidSettings(weights=str(tmp_path / "none.safetensors")))
    assert caught.value.where == "reid.weights"
    with refused_as("unknown-name", "'openai'"):
        build(ReidSettings(backbone="open_clip:RN50", weights="openaii"))
    with refused_as("unknown-name", "reid.weights"):
        build(ReidSettings(backbone=tiny_clip, weights="openai"))
    (tmp_path / "pickle.safetensors").write_bytes(b"\x80\x02}q\x00.")
    with refused_as("bad-weights", "reid.weights"):
        build(ReidSettings(weights=str(tmp_path / "pickle.safetensors")))


def test_weights_that_do_not_fit_name_the_first_key(tmp_path: Path) -> None:
    good = {k: v.contiguous() for k, v in build_backbone("small", None)[0].state_dict().items()}
    path = tmp_path / "small.safetensors"
    first, *_, last = sorted(good)
    for state, message in (
        ({k: v for k, v in good.items() if k != last}, f"lacks '{last}' .1 missing"),
        (good | {"extra": torch.zeros(1)}, "has an unknown 'extra'"),
        (good | {first: torch.zeros(7)}, f"has another shape at '{first}'"),
    ):
        save_file(state, path)
        with pytest.raises(UserError, match=message):
            build(ReidSettings(weights=str(path)))


@pytest.mark.parametrize("damage", ["missing", "truncated", "other"])
def test_a_damaged_folder_is_refused(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "reid"
    save(build(ReidSettings(dim=8)), folder)
    weights = folder / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-9])
    else:
        (folder / "config.json").write_text('{"backbone": "small", "dim": 9, "freeze": false}')
    with refused_as("unreadable-file"):
        load(folder)
