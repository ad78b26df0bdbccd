"""`pd filter` on images of others where the workers are on other machines than the one that asks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from pd.audit.results import AtPoint
from pd.errors import UserError
from pd.progress import Reporter
from pd.reid.calibrate import Verification
from pd.stages import external


@pytest.fixture
def people(tmp_path: Path) -> Path:
    for person in range(8):
        folder = tmp_path / "people" / f"p{person}"
        folder.mkdir(parents=True)
        for number in range(2):
            Image.new("L", (16, 16), 10 * person + number).save(folder / f"{number}.png")
    return tmp_path / "people"


def test_what_workers_share_lies_beside_the_decisions(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def refuse(folder: Path, fix: str) -> None:
        asked.append(folder)
        raise UserError("1 of 2 machines do not see this folder", where=str(folder), fix=fix)

    monkeypatch.setattr(external, "connect", lambda address: None)
    monkeypatch.setattr(external, "check_shared", refuse)
    out = tmp_path / "share" / "decisions"
    with pytest.raises(UserError, match="name an --out on storage that all of them mount"):
        external.filter_folders(str(people), str(people), out, (), Reporter())
    assert [folder.parent for folder in asked] == [tmp_path / "share"]
    assert list((tmp_path / "share").iterdir()) == []  # it is gone with the error


def test_workers_use_nothing_else_of_this_machine(people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: dict[str, Any] = {}

    def score(**given: Any) -> dict[str, Any]:
        used.update(given)
        return {"bad": []}

    measured = SimpleNamespace(
        verification=Verification(auc=1.0, rank1=1.0, images=8, identities=4, same_pairs=4, other_pairs=24)
    )
    for name in ("connect", "check_shared", "prepare", "find_thresholds"):
        monkeypatch.setattr(external, name, lambda *_: measured)
    monkeypatch.setattr(external, "unkept", lambda *_: [])
    monkeypatch.setattr(external, "score_images", score)
    monkeypatch.setattr(external, "apply_filter", lambda *_, **__: {})
    monkeypatch.setattr(external, "at_work", lambda *_: AtPoint())
    (tmp_path / "decisions").mkdir()
    external.filter_folders(str(people), str(people), tmp_path / "decisions", (), Reporter())
    for name in ("reid", "gallery", "out"):
        assert used[name].parent.parent == tmp_path
