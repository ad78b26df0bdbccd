"""A bucket, and machines that share nothing else."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bucket import BUCKET, Server, s3_server

from pd.config.mirrored import mirrored


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def machine(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """machine("a") -> the run's folder on machine a, on which this process is from now on."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)

    def be(name: str) -> Path:
        monkeypatch.setenv("PD_MIRROR", str(tmp_path / name))
        return mirrored(f"s3://{BUCKET}/{tmp_path.name}/some runs") / "faces"

    return be
