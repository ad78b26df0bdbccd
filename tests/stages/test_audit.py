"""What the audit refuses before it begins."""

from io import StringIO
from pathlib import Path

import pytest
from refusals import refused_as
from rich.console import Console

from pd.config import parse_settings
from pd.errors import UserError
from pd.pipeline import run_pipeline
from pd.progress import Reporter
from pd.stages.audit import _learns_from_public, refuse_own_networks, voters


def test_the_filters_own_network_is_no_attacker(tmp_path: Path) -> None:
    for name, weights in (("reid", b"first"), ("reid/voter-002", b"second"), ("copy", b"second"), ("other", b"third")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    refuse_own_networks(["imagenet", f"network:{tmp_path / 'other'}"], tmp_path / "reid")
    for name in ("reid", "copy"):
        with refused_as("bad-options", "audit.attackers"):
            refuse_own_networks([f"network:{tmp_path / name}"], tmp_path / "reid")


def test_attackers_that_learn_as_the_filters_networks_did_are_of_its_families() -> None:
    plain = ["filter.families=[whitened]"]
    assert voters(parse_settings({}, plain)) == ["whitened", "supcon"]
    assert "crrcd" in voters(parse_settings({}, [*plain, "reid.method=[{name: crrcd}, {name: supcon}]"]))
    assert voters(parse_settings({}, [*plain, "reid.method=[{name: crrcd}]", "filter.reid=false"])) == ["whitened"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("audit.attackers=[imagenett]", "did you mean 'imagenet'"),
        ("audit.features=onnx:none.onnx", "no file 'none.onnx'"),
    ],
)
def test_an_instrument_that_is_not_there_is_refused_before_the_first_stage(change: str, said: str, tmp_path: Path) -> None:
    settings = parse_settings({"runs": str(tmp_path), "name": "a"}, [change])
    with pytest.raises(UserError, match=said):
        run_pipeline(settings, Reporter(Console(file=StringIO())))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("more", "needed"),
    [
        ({}, True),  # nobody else checks them
        ({"formal": {"public": True}}, False),
        ({"formal": {"public": True}, "audit": {"attackers": ["thumbnails", "crrcd"]}}, True),
        ({"formal": {"public": True}, "audit": {"attackers": "strong"}}, True),
    ],
)
def test_public_pictures_need_be_of_people_only_where_an_attacker_learns_from_them(more, needed) -> None:
    assert _learns_from_public(parse_settings({"public": {"path": "flat"}, **more})) is needed
