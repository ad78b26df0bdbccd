"""Shared by all tests: a pipeline that has really run.

pytest-xdist deals out whole files, so only the worker that gets test_pipeline.py makes it.
"""

from collections import Counter
from pathlib import Path

import pytest
from terminal import ALL_ARMS, pd


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests go first: a worker that got one of them last would keep everybody waiting."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of configs/smoke.yaml with all four arms. Tests must leave it as it is."""
    runs = tmp_path_factory.mktemp("runs")
    done = pd("run", "configs/smoke.yaml", "--set", f"runs={runs}", "--set", ALL_ARMS, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return runs / "smoke"
