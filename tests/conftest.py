"""Shared by all tests: a pipeline that has really run, and machines that share nothing but a bucket."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bucket import BUCKET, KINDS, Server, s3_server
from smoke_run import made_once

from pd.config.mirrored import mirrored

os.environ |= {"RAY_worker_niceness": "0"}  # as pd has it: by Ray's own, its workers are left nothing beside other tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the most slow tests go first: a worker that got one of them last would keep everybody waiting."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session")
def smoke(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of configs/smoke.yaml with all arms. Tests must leave it as it is.

    It is made once for all workers of pytest-xdist, and once more when a source changes; each worker has a copy.
    """
    cache = getattr(pytestconfig, "cache", None)  # without it (`-p no:cacheprovider`) for this session alone
    kept = Path(cache.mkdir("smoke")) if cache else tmp_path_factory.mktemp("kept")
    copy = tmp_path_factory.mktemp("runs") / "smoke"
    return Path(shutil.copytree(made_once(kept), copy))


@pytest.fixture(scope="session", params=KINDS)
def s3(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server with a bucket, for tests that keep to places of their own in it; one of each kind."""
    with s3_server(request.param) as running:
        yield running


@pytest.fixture
def machine(s3: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """machine("a") -> the run's folder on machine a, on which this process is from now on."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)

    def be(name: str) -> Path:
        monkeypatch.setenv("PD_MIRROR", str(tmp_path / name))
        return mirrored(f"s3://{BUCKET}/{tmp_path.name}/some runs") / "faces"

    return be
