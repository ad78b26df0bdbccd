"""The shared run is made once for all who look for it at a time, and again only when what it is made from changes."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import smoke_run
from smoke_run import made_from, made_once


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where runs were made, by a `pd` that only leaves a file."""
    made: list[Path] = []

    def pd(*words: str, timeout: float) -> subprocess.CompletedProcess[str]:
        folder = Path(words[words.index("--set") + 1].removeprefix("runs="))
        made.append(folder)
        (folder / "smoke").mkdir(parents=True)
        time.sleep(0.2)
        (folder / "smoke" / "done").touch()
        return subprocess.CompletedProcess(words, 0, "", "")

    monkeypatch.setattr(smoke_run, "pd", pd)
    return made


def test_it_is_made_once_by_whoever_comes_first(runs: list[Path], tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(made_once, [tmp_path] * 3))
    assert len(runs) == 1
    assert set(found) == {tmp_path / made_from() / "smoke"}
    assert (found[0] / "done").exists()


def test_another_source_makes_another_run_and_removes_the_first(
    runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made_once(tmp_path)
    (tmp_path / "aside" / "smoke").mkdir(parents=True)  # of one that was killed
    monkeypatch.setattr(smoke_run, "ALL_ARMS", "audit.arms=[kept]")
    second = made_once(tmp_path)
    assert second != first
    assert (second / "done").exists()
    assert not first.exists()
    assert len(runs) == 2


def test_a_run_that_failed_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke_run, "pd", lambda *words, timeout: subprocess.CompletedProcess(words, 1, "", "pd: it broke"))
    with pytest.raises(AssertionError, match="it broke"):
        made_once(tmp_path)
    assert not (tmp_path / made_from()).exists()
