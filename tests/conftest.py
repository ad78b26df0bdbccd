"""Shared by all tests: a pipeline that has really run.

pytest-xdist deals out whole files, so only the worker that gets test_pipeline.py makes it.
"""

from pathlib import Path

import pytest
from terminal import ALL_ARMS, pd


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of configs/smoke.yaml with all four arms. Tests must leave it as it is."""
    runs = tmp_path_factory.mktemp("runs")
    done = pd("run", "configs/smoke.yaml", "--set", f"runs={runs}", "--set", ALL_ARMS, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return runs / "smoke"
