"""Folders for a while: they go, also when their process was killed, and those of living processes stay."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pd.store.scratch import make_scratch, scratch

HOLDER = "import sys; from pathlib import Path; from pd.store.scratch import make_scratch; "
HOLDER += "print(make_scratch('one-', Path(sys.argv[1]))[0], flush=True); sys.stdin.read()"


def test_it_is_private_and_goes(tmp_path: Path) -> None:
    with scratch("one-", tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "in").mkdir()
        with scratch("one-", tmp_path):
            assert (folder / "in").exists()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_is_swept_by_the_next(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        left = Path(process.stdout.readline().strip())
        (left / "picture").touch()
        (tmp_path / "other-1").mkdir()
        with scratch("one-", tmp_path):
            assert (left / "picture").exists()
        process.kill()
    with scratch("one-", tmp_path) as folder:
        assert {path.name for path in tmp_path.iterdir()} == {folder.name, "other-1"}


def test_nothing_is_swept_that_is_somebody_elses_or_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "one-link").symlink_to(tmp_path / "theirs")
    (tmp_path / "one-file").touch()
    with scratch("one-", tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"theirs", "one-link", "one-file"}
    (tmp_path / "one-theirs").mkdir()
    own = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: own + 1)
    with scratch("one-", tmp_path):
        pass
    assert (tmp_path / "one-theirs").exists()


def test_one_that_is_swept_before_it_is_held_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Path] = []
    opened = os.open

    def swept_first(path: Path, *arguments: int) -> int:
        if not taken:
            taken.append(path.parent)
            path.parent.rmdir()
        return opened(path, *arguments)

    monkeypatch.setattr(os, "open", swept_first)
    folder, lock = make_scratch("one-", tmp_path)
    os.close(lock)
    assert folder.exists()
    assert folder != taken[0]
