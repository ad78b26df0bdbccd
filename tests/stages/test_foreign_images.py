"""What `pd audit --real --synthetic` says and keeps of the images that it compares; small, without training."""

import json
from pathlib import Path

from small_people import QUICK, reporter, small_people

from pd.stages.foreign import audit_folders


def test_what_the_size_and_the_mode_take_away_is_said_and_kept(tmp_path: Path) -> None:
    people, out = small_people(tmp_path / "people", size=48, mode="RGB"), tmp_path / "audit.json"
    talk, said = reporter()
    audit_folders(people, str(people), out, QUICK, talk)
    assert "images are compared at 32x32 pixels, grey; 48 of the real ones are larger and 48 have colours" in said.getvalue()
    assert "--set data.size=64 --set data.mode=rgb" in said.getvalue()
    kept = json.loads(out.read_text())["images"]
    assert kept == {"size": 32, "mode": "grey", "shrunk": 48, "coloured": 48, "split_drawn": True}
    talk, said = reporter()
    audit_folders(people, str(people), None, [*QUICK, "data.size=48", "data.mode=rgb"], talk)
    assert "images are compared at 48x48 pixels, rgb\n" in said.getvalue()
