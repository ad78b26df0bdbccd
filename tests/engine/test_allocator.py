import os
import subprocess
import sys
from pathlib import Path

import pytest

from pd.engine.cpu.allocator import keeping_memory


def test_a_process_with_these_variables_uses_jemalloc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    found = keeping_memory()
    if not found:
        pytest.skip("this build of ray brings no jemalloc")
    assert Path(found["LD_PRELOAD"]).is_file()
    look = "import pathlib; print('jemalloc' in pathlib.Path('/proc/self/maps').read_text())"
    told = subprocess.run([sys.executable, "-c", look], env={**os.environ, **found}, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "True"
    assert told.stderr == ""


def test_a_users_own_choice_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/some/other.so")
    assert keeping_memory() == {}
