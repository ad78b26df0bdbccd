"""Every block of docs/tutorial.md runs as it stands there, in a folder with people and samples."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from small_people import small_people
from terminal import PD, ROOT

TEXT = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.S)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 24 people, and samples that are pictures of some of them and of nobody."""
    folder = tmp_path_factory.mktemp("tutorial")
    small_people(folder / "people", people=24)
    small_people(folder / "others", people=30, each=1)
    (folder / "samples").mkdir()
    for number, path in enumerate(sorted(folder.glob("people/*/0.png")) + sorted(folder.glob("others/*/0.png"))):
        with Image.open(path) as picture:
            picture.save(folder / "samples" / f"{number:03d}.png")
    return folder


def test_what_is_done_in_a_notebook(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    names: dict[str, object] = {}
    blocks = [text for kind, text in BLOCKS if kind == "python"]
    for text in blocks:
        exec(text, names)
    assert len(blocks) == 3
    assert len(names["decisions"]) == 54  # type: ignore[arg-type]
    assert "profiles" in set(names["by_attacker"]["attacker"])  # type: ignore[index]


@pytest.mark.exhaustive
def test_what_is_typed(here: Path) -> None:
    (settings,) = (text for kind, text in BLOCKS if kind == "yaml")
    (here / "trial.yaml").write_text(settings, encoding="utf-8")
    lines = [line for kind, text in BLOCKS if not kind for line in text.splitlines()]
    assert [line.split()[1] for line in lines] == ["run", "status", "verify", "init", "plan"]
    for line in lines:
        done = subprocess.run(
            [str(PD), *shlex.split(line)[1:]],
            cwd=here,
            env=os.environ,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, (line, done.stderr[-2000:])
    assert (here / "runs/trial/private/report.html").exists()
    assert (here / "runs/trial/release/audit.json").exists()
