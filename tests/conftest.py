"""Shared by all tests: a pipeline that has really run, once a session."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PD = Path(sys.executable).with_name("pd")


def pd(*words: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `pd` as a user would."""
    return subprocess.run([str(PD), *map(str, words)], capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of configs/smoke.yaml with all four arms. Tests must leave it as it is."""
    runs = tmp_path_factory.mktemp("runs")
    done = pd("run", "configs/smoke.yaml", "--set", f"runs={runs}", "--set", ALL_ARMS, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return runs / "smoke"


ALL_ARMS = "audit.arms=[teacher, unfiltered, random_drop, filtered]"
