"""Joining Ray, sharing its machine out, and errors brought home."""

import contextlib
import math
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import AuthenticationError
from refusals import refused_as
from terminal import ROOT

from pd.config import ModelSettings
from pd.engine.ray_start import check_tls, own_folder, started_here
from pd.engine.runtime import _even_share, connect, preflight_train, rank_rows, split_batch, unwrap
from pd.errors import LeakError, UserError


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    connect()
    yield
    ray.shutdown()


def settings(**changes: Any) -> ModelSettings:
    return ModelSettings.model_validate({"batch": 64} | changes)


@pytest.mark.usefixtures("cluster")
def test_connect_twice_is_one_cluster_and_workers_import_pd() -> None:
    node = ray.get_runtime_context().get_node_id()
    connect()
    assert ray.get_runtime_context().get_node_id() == node

    @ray.remote(num_cpus=0.1)
    def where() -> str:
        import pd

        return str(pd.__file__)

    import pd

    assert ray.get(where.remote()) == pd.__file__


def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise ConnectionError("nobody there")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with refused_as("no-cluster", "ConnectionError"):
        connect("nowhere")
    with socket.socket() as taken:  # and never listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for url in (address, f"ray://{address}"):
            with refused_as("no-cluster", url, "ConnectionRefusedError"):
                connect(url)  # at once: Ray itself would ask for minutes
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with refused_as("cluster-refused"):
        connect()


@pytest.mark.parametrize(
    "refusal",
    [AuthenticationError("no token was found"), RuntimeError("Unauthenticated: RPC error: InvalidAuthToken: missing")],
)
def test_a_cluster_that_refuses_the_token_is_not_one_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    def refuse(**_: object) -> None:
        raise ConnectionError("Failed to connect to Ray cluster") from refusal

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with refused_as("cluster-refused", "RAY_AUTH_MODE=token"):
        connect("nowhere")


@contextmanager
def head(tls: Path | None) -> Iterator[str]:
    """Address of a server that answers as Ray's head does, with the certificate in this folder or without TLS."""

    def answer(server: socket.socket) -> None:
        with contextlib.suppress(OSError), server.accept()[0] as first, first:  # the knock
            pass
        with contextlib.suppress(OSError), server.accept()[0] as second:
            if tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(tls / "tls.crt", tls / "tls.key")
                context.wrap_socket(second, server_side=True).recv(1)
            else:
                second.sendall(bytes.fromhex("000000040000000000"))  # HTTP/2's settings, as gRPC begins
                second.recv(1000)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    ("theirs", "ours", "says"),
    [
        ("one", None, "the Ray cluster speaks TLS alone. set RAY_USE_TLS=1 with RAY_TLS_SERVER_CERT"),
        (None, "one", "the Ray cluster has no TLS, and RAY_USE_TLS asks for it"),
        ("one", "two", "the Ray cluster's certificate is not signed by RAY_TLS_CA_CERT"),
        ("one", "one", "no Ray cluster answers"),
        (None, None, "no Ray cluster answers"),
    ],
)
def test_tls_on_one_side_alone_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, theirs: str | None, ours: str | None, says: str
) -> None:
    def refuse(**_: object) -> None:
        raise ConnectionError("as far as TLS all is well")

    tool = str(ROOT / "cluster" / "node-cert.sh")
    for name in {theirs, ours} - {None}:
        subprocess.run([tool, "ca", str(tmp_path / f"ca {name}")], check=True)
        subprocess.run([tool, "node", str(tmp_path / f"ca {name}"), str(tmp_path / str(name))], check=True)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    if ours:
        monkeypatch.setenv("RAY_USE_TLS", "1")
        for part, file in (("SERVER_CERT", "tls.crt"), ("SERVER_KEY", "tls.key"), ("CA_CERT", "ca.crt")):
            monkeypatch.setenv(f"RAY_TLS_{part}", str(tmp_path / ours / file))
    with head(tmp_path / theirs if theirs else None) as address, pytest.raises(UserError, match=f"address = {address}: {says}"):
        connect(address)


def test_tls_without_its_files_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_tls()
    (tmp_path / "tls.crt").touch()
    monkeypatch.setenv("RAY_USE_TLS", "1")
    monkeypatch.setenv("RAY_TLS_SERVER_CERT", str(tmp_path / "tls.crt"))
    monkeypatch.setenv("RAY_TLS_SERVER_KEY", str(tmp_path / "none.key"))
    with refused_as("no-such-file", "RAY_TLS_SERVER_KEY"):
        check_tls()
    for name in ("RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT"):
        monkeypatch.setenv(name, str(tmp_path / "tls.crt"))
    check_tls()


def test_a_cluster_that_somebody_else_names_is_not_joined(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert started_here() is None
    (tmp_path / "ray").mkdir()
    named = tmp_path / "ray" / "ray_current_cluster"  # in a folder where everybody may write
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        named.write_text(f"{address}\n")
        assert started_here() == address
        own = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: own + 1)
        assert started_here() is None
        monkeypatch.setattr(os, "getuid", lambda: own)
        named.rename(tmp_path / "named")
        named.symlink_to(tmp_path / "named")
        assert started_here() is None
    named.unlink()
    os.mkfifo(named)
    assert started_here() is None  # and does not wait for a writer


@pytest.mark.usefixtures("cluster")
def test_the_folder_of_a_ray_of_ones_own_is_closed_to_others() -> None:
    node = ray._private.worker._global_node
    assert Path(node.get_session_dir_path()).parent == own_folder()
    assert own_folder().parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.usefixtures("cluster")
def test_an_error_of_the_user_comes_out_of_a_task_as_itself() -> None:
    @ray.remote(num_cpus=0.1)
    def refuse() -> None:
        try:
            raise ValueError("the cause")
        except ValueError as error:
            raise LeakError("bad thing", where="row 3", fix="mend it") from error

    with pytest.raises(Exception, match="bad thing") as caught:
        ray.get(refuse.remote())
    found = unwrap(caught.value)
    assert type(found) is LeakError
    assert (found.what, found.where, found.fix) == ("bad thing", "row 3", "mend it")
    assert str(found) == "row 3: bad thing. mend it"


@pytest.mark.usefixtures("cluster")
def test_more_workers_than_cpus_are_refused_with_the_numbers() -> None:
    has = int(ray.cluster_resources()["CPU"])
    with refused_as("no-resources", has + 1, "CPUs", has, "1"):
        preflight_train(settings(workers=has + 1, batch=has + 1))
    with refused_as("no-resources", 4 * has, has):
        preflight_train(settings(workers=2, cpus_per_worker=2 * has))
    shared = preflight_train(settings(workers=2 * has, cpus_per_worker=0.5))
    assert (shared.cpus, shared.threads) == (0.5, 1)


def test_parts_of_a_cpu_are_counted_as_ray_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for cpus, each, fit in ((2.0, 0.1, 20), (1.0, 0.2, 5), (2.0, 0.3, 6)):
        monkeypatch.setattr(ray, "nodes", lambda has=cpus: [{"Alive": True, "Resources": {"CPU": has}}])
        preflight_train(settings(workers=fit, batch=fit, cpus_per_worker=each))
        with refused_as("no-resources", fit):
            preflight_train(settings(workers=fit + 1, batch=fit + 1, cpus_per_worker=each))


@pytest.mark.usefixtures("cluster")
def test_of_a_range_the_fewest_must_fit_and_the_most_that_fit_share() -> None:
    has = int(ray.cluster_resources()["CPU"])
    batch = math.lcm(*range(1, has + 4))
    elastic = preflight_train(settings(workers=[1, has + 3], batch=batch))
    assert elastic == preflight_train(settings(workers=has, batch=batch))
    halves = preflight_train(settings(workers=[1, 2 * has + 1], cpus_per_worker=0.5, batch=math.lcm(*range(1, 2 * has + 2))))
    assert (halves.cpus, halves.threads) == (0.5, 1)
    with refused_as("no-resources", has + 1, "CPUs"):
        preflight_train(settings(workers=[has + 1, has + 2], batch=math.lcm(has + 1, has + 2)))


@pytest.mark.usefixtures("cluster")
def test_more_gpus_than_there_are_is_refused_with_the_numbers() -> None:
    has = ray.cluster_resources().get("GPU", 0.0)
    with refused_as("no-resources", f"{2 * (has + 1):g}", f"{has:g}"):
        preflight_train(settings(workers=2, gpus_per_worker=has + 1))


@pytest.mark.usefixtures("cluster")
def test_a_lone_worker_computes_on_the_whole_machine_and_leaves_a_slot() -> None:
    has = int(ray.cluster_resources()["CPU"])
    share = preflight_train(settings(workers=1))
    assert share.threads == has
    assert share.cpus <= max(has - 1, 0.5)


def test_wrapped_errors_of_ray_train_are_unwrapped() -> None:
    from ray.train import ControllerError, WorkerGroupError

    mine = UserError("mine")
    assert unwrap(WorkerGroupError("worker 1 failed", {0: RuntimeError("other"), 1: mine})) is mine
    assert unwrap(ControllerError(mine)) is mine
    outer = RuntimeError("outer")
    outer.__cause__ = WorkerGroupError("inside", {0: mine})
    assert unwrap(outer) is mine
    assert unwrap(mine) is mine
    assert unwrap(WorkerGroupError("worker 0 failed", {0: RuntimeError("other")})) is None
    loop = RuntimeError("a ring")
    loop.__cause__, loop.__context__ = outer, loop
    outer.__cause__ = loop
    assert unwrap(loop) is None


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "each_gpu", "share"),
    [
        ([2.0], [0.0], 1, 0.0, 1.0),
        ([2.0], [0.0], 2, 0.0, 0.5),
        ([1.0], [0.0], 1, 0.0, 0.5),
        ([16.0], [8.0], 8, 1.0, 1.0),
        ([0.0, 4.0, 4.0, 4.0], [0.0] * 4, 2, 0.0, 4.0),  # eleven to share, but a worker fits on one machine
        ([32.0, 32.0], [4.0, 4.0], 8, 1.0, 7.0),
        ([2.0, 32.0], [8.0, 0.0], 8, 1.0, 0.12),  # the machine with GPUs has few CPUs, and those of the other are no help
    ],
)
def test_cpus_are_shared_out_so_that_workers_fit_on_machines(
    cpus: list[float], gpus: list[float], workers: int, each_gpu: float, share: float
) -> None:
    assert _even_share(cpus, gpus, workers, each_gpu) == share


def test_batches_are_split_evenly_or_refused() -> None:
    assert split_batch(settings(batch=64, workers=4)) == 16
    assert split_batch(settings(batch=64, workers=2, micro_batch=8)) == 8
    assert split_batch(settings(batch=64, workers=0)) == 64
    with refused_as("bad-batch", "66"):
        split_batch(settings(batch=64, workers=3))


def test_a_number_of_workers_that_changes_need_not_divide_the_batch() -> None:
    elastic = settings(batch=24, workers=[1, 4], micro_batch="auto")
    assert [split_batch(elastic, workers) for workers in (1, 2, 3, 4)] == [24, 12, 8, 6]
    assert split_batch(elastic) == 6
    assert split_batch(settings(batch=24, workers=[2, 4], micro_batch=2), 3) == 2
    uneven = settings(batch=64, workers=[1, 8])
    assert [rank_rows(uneven, workers) for workers in (1, 3, 5, 7, 8)] == [64, 22, 13, 10, 8]
    in_parts = settings(batch=64, workers=[1, 8], micro_batch=4)
    assert [rank_rows(in_parts, workers) for workers in (3, 5, 8)] == [24, 16, 8]
    assert split_batch(in_parts, 3) == 4
    with refused_as("bad-batch", "4", "8"):
        split_batch(settings(batch=4, workers=[1, 8]))
    with refused_as("bad-batch", "12", "8"):
        split_batch(settings(batch=24, workers=2, micro_batch=8))
