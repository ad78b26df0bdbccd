"""What the audit refuses before it begins."""

from pathlib import Path

import pytest

from pd.config import parse_settings
from pd.errors import UserError
from pd.stages.audit import _learns_from_public, refuse_own_networks


def test_the_filters_own_network_is_no_attacker(tmp_path: Path) -> None:
    for name, weights in (("reid", b"first"), ("reid/voter-002", b"second"), ("copy", b"second"), ("other", b"third")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(weights)
    refuse_own_networks(["imagenet", f"network:{tmp_path / 'other'}"], tmp_path / "reid")
    for name in ("reid", "copy"):
        with pytest.raises(UserError, match="is the filter's own network"):
            refuse_own_networks([f"network:{tmp_path / name}"], tmp_path / "reid")


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
