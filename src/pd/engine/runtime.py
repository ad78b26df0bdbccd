"""Ray, started quietly; what the cluster has; and errors brought home from workers."""

import os
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pd.config import ModelSettings
from pd.config.mirrored import PLAIN_UPLOADS
from pd.engine.cpu.cores import not_interrupting
from pd.engine.dashboard import note_dashboard
from pd.engine.machines import parts
from pd.engine.ray_start import (
    KNOCK_S,
    check_tls,
    cluster_address,
    knock,
    our_exit,
    our_sigterm,
    own_folder,
    shut_in,
    store_bytes,
    without_stderr,
)
from pd.engine.shared_folder import check_shared
from pd.engine.submitted_job import given_environment, search_path
from pd.engine.waiting import require_answer
from pd.errors import UserError
from pd.store.run import Run

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # its C++ core writes to our terminal, past all of Python's logging
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else every start warns that this default will change
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    # Ray's workers step back behind whatever else runs; ours are what the user is waiting for.
    "RAY_worker_niceness": "0",
    # Ray Train looks at its workers this often. The default of 2 s is felt at the end of a short training.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.25",
}


@dataclass(frozen=True)
class Share:
    """What each training worker gets.

    Attributes:
        cpus: Ray's CPUs, a fraction below 1 or a whole number.
        gpus: Ray's GPUs.
        threads: threads that torch may use.
        alone: whether the workers have a machine to themselves.
    """

    cpus: float
    gpus: float
    threads: int
    alone: bool


def connect(address: str | None = None, run: Run | None = None) -> None:
    """Join the cluster at `address`, or in RAY_ADDRESS, or started by `ray start` here; else start one in this process.

    Calling it again does nothing. Nothing is printed unless it fails.

    Args:
        address: of Ray's head, `host:port` or `auto`.
        run: what is to be worked on. All machines must see it, and it is told where the cluster's dashboard is.

    Raises:
        UserError: there is no cluster at the address, or one with another token, or TLS is on one side alone; Ray cannot start
            here, TLS is asked for without its files, or a machine does not see the run's folder.
    """
    for key, value in (_QUIET | PLAIN_UPLOADS).items():
        os.environ.setdefault(key, value)
    os.environ.setdefault("RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES", str(store_bytes()))
    joins = cluster_address(address)
    if not joins:
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")  # nobody takes this machine away
        shut_in()
    import ray

    if ray.is_initialized():
        return
    check_tls()
    try:
        knock(joins)
        _agree_on_tls(joins)
        with without_stderr(), our_exit(), our_sigterm(), not_interrupting():
            found = ray.init(
                address=joins or "local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env=_runtime_env() if joins else None,
                _temp_dir=None if joins else str(own_folder()),
            )
    except UserError:
        raise
    except Exception as error:  # Ray raises a bare one when its processes are not up after 30 seconds
        raise _not_connected(joins, error) from error
    if joins:
        require_answer()
    if run is not None:
        note_dashboard(run.work, found.dashboard_url)
        check_shared(run.work)


def _agree_on_tls(address: str | None) -> None:
    """Refuse a cluster at `host:port` that has TLS where this process has none, or the reverse: Ray would wait for minutes.

    Raises:
        UserError: TLS is on one side alone, or the cluster's certificate is not of our CA.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    where, ours = f"address = {address}", os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")
    files = "RAY_TLS_SERVER_CERT, RAY_TLS_SERVER_KEY and RAY_TLS_CA_CERT"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # names are for Ray to compare
    context.set_alpn_protocols(["h2"])
    if ours:
        context.load_verify_locations(os.environ["RAY_TLS_CA_CERT"])
    else:
        context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S) as plain, context.wrap_socket(plain):
            theirs = True
    except ssl.SSLCertVerificationError:
        raise UserError(
            "the Ray cluster's certificate is not signed by RAY_TLS_CA_CERT",
            code="cluster-refused",
            where=where,
            fix=f"set {files} to the cluster's own",
        ) from None
    except OSError as error:
        if getattr(error, "reason", None) != "WRONG_VERSION_NUMBER":  # what an answer without TLS looks like; else let Ray try
            return
        theirs = False
    if theirs and not ours:
        raise UserError(
            "the Ray cluster speaks TLS alone",
            code="cluster-refused",
            where=where,
            fix=f"set RAY_USE_TLS=1 with {files}, as on its nodes",
        )
    if ours and not theirs:
        raise UserError(
            "the Ray cluster has no TLS, and RAY_USE_TLS asks for it",
            code="cluster-refused",
            where=where,
            fix="unset it, or start all with it",
        )


def _not_connected(address: str | None, error: Exception) -> UserError:
    from ray.exceptions import AuthenticationError

    # A head that refuses the token is to Ray one that it does not reach; only the text of the cause says why.
    if address and any(isinstance(each, AuthenticationError) or "InvalidAuthToken" in str(each) for each in wrapped(error)):
        return UserError(
            "the Ray cluster wants another token",
            code="cluster-refused",
            where=f"address = {address}",
            fix="set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) to what the cluster was started with",
        )
    if address:
        return UserError(
            f"no Ray cluster answers ({type(error).__name__})",
            code="no-cluster",
            where=f"address = {address}",
            fix="start one with `ray start --head`, or leave the address and RAY_ADDRESS empty to run on this machine",
        )
    return UserError(
        f"Ray did not start ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'})",
        code="cluster-refused",
        where="this machine",
        fix="is it short of processor time, memory or room in /tmp? Run the same command again: what is finished is kept",
    )


def preflight_train(settings: ModelSettings) -> Share:
    """What each of the training's workers can have, before anything is started.

    Where `workers` is a range, the cluster must hold its smallest number, and CPUs are shared out among the largest that it
    holds. Empty `cpus_per_worker` shares all CPUs out, less one slot that stays free for other actors. Threads are not slots:
    alone on a machine a worker computes on all of it.

    Raises:
        UserError: the cluster has fewer CPUs or GPUs than the workers ask for, or the batch does not divide among them.
    """
    split_batch(settings)
    return preflight_workers((settings.min_workers, settings.max_workers), settings.cpus_per_worker, settings.gpus_per_worker)


def preflight_workers(workers_range: tuple[int, int], cpus_per_worker: float | None, each_gpu: float) -> Share:
    """The same for any workers that train together: from so many to so many, CPUs (None: shared out) and GPUs of each.

    Raises:
        UserError: the cluster has fewer CPUs or GPUs than they ask for.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [float(node.get("CPU", 0.0)) for node in nodes]
    gpus = [float(node.get("GPU", 0.0)) for node in nodes]
    workers, most = workers_range
    if each_gpu and _fits(gpus, each_gpu) < workers:
        raise UserError(
            f"{workers} workers with {each_gpu:g} GPUs each need {workers * each_gpu:g}; "
            f"the cluster has {sum(gpus):g} on {_machines(nodes)}",
            code="no-resources",
            where=f"gpus_per_worker = {each_gpu:g}",
            fix=f"set workers to at most {_fits(gpus, each_gpu)}, or gpus_per_worker: 0 to train on CPUs",
        )
    each_cpu = cpus_per_worker
    if each_cpu is None:
        if workers > sum(cpus) and not each_gpu:  # with GPUs, parts of CPUs do
            raise UserError(
                f"{workers} workers need {workers} CPUs; the cluster has {sum(cpus):g} on {_machines(nodes)}",
                code="no-resources",
                where=f"workers = {workers}",
                fix=f"set workers to at most {sum(cpus):g}, or cpus_per_worker below 1 to let them share",
            )
        workers = min(most, _fits(gpus, each_gpu) if each_gpu else int(sum(cpus)))
        each_cpu = _even_share(cpus, gpus, workers, each_gpu)
    elif (fit := _fits_both(cpus, gpus, each_cpu, each_gpu)) < workers:
        raise UserError(
            f"{workers} workers with {each_cpu:g} CPUs each need {workers * each_cpu:g}; "
            f"the cluster has {sum(cpus):g} on {_machines(nodes)}",
            code="no-resources",
            where=f"cpus_per_worker = {each_cpu:g}",
            fix=f"set workers to at most {fit}, or lower cpus_per_worker",
        )
    else:
        workers = min(most, fit)
    alone = cpus_per_worker is None and len(nodes) == 1
    return Share(each_cpu, each_gpu, threads=max(1, int(sum(cpus) // workers if alone else each_cpu)), alone=alone)


def split_batch(settings: ModelSettings, workers: int | None = None) -> int:
    """Images per forward on one of so many workers: `micro_batch`, or all of a worker's share where it is no number.

    Args:
        settings: batch, workers, micro_batch.
        workers: how many there are; None: as many as the settings allow.

    Raises:
        UserError: the batch does not divide evenly among a fixed number of workers, or their share into micro-batches; or
            there are more workers than images. (Among a number that changes it need not: see `rank_rows`.)
    """
    low, high = max(1, settings.min_workers), max(1, settings.max_workers)
    batch, micro = settings.batch, settings.micro_batch
    if high > batch or (low == high and batch % high):
        raise UserError(
            f"a batch of {batch} does not divide among {high} workers",
            code="bad-batch",
            where=f"batch = {batch}",
            fix=f"set batch: {-(-batch // high) * high}" + ("" if low == high else f", or at most {batch} workers"),
        )
    if not isinstance(micro, int):
        return rank_rows(settings, workers or high)
    if low == high and batch // high % micro:
        raise UserError(
            f"{batch // high} images per worker and step do not divide into micro-batches of {micro}",
            code="bad-batch",
            where=f"micro_batch = {micro}",
            fix=f"choose a divisor of {batch // high}",
        )
    return micro


def rank_rows(settings: ModelSettings, workers: int) -> int:
    """Rows of each of so many workers in a step: the same number for all, though the batch may not divide among them.

    So many that they hold the whole batch; what is too many is a row that is repeated and counts for nothing, fewer than
    `workers * micro_batch` of them.
    """
    multiple = settings.micro_batch if isinstance(settings.micro_batch, int) else 1
    return -(-settings.batch // (workers * multiple)) * multiple


def unwrap(error: BaseException) -> UserError | None:
    """The UserError that a Ray worker raised, out of all that Ray wraps around it; None when there is none.

    Ray Data and tasks raise RayTaskError (`cause`), Ray Train a WorkerGroupError (`worker_failures`, one per rank) or a
    ControllerError (`controller_failure`), each with further wrapping inside.
    """
    for found in wrapped(error):
        # Ray's dual exceptions are instances of UserError by inheritance only; the real one is their cause.
        if isinstance(found, UserError) and not hasattr(found, "cause"):
            return found
    return None


def wrapped(error: BaseException) -> Iterator[BaseException]:
    """An error of Ray's and all that it holds, each once."""
    return _inside(error, set())


def _inside(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    failures: Any = getattr(error, "worker_failures", None) or {}
    names = ("cause", "controller_failure", "health_check_failure", "_base_exc", "__cause__", "__context__")
    for inner in (*failures.values(), *(getattr(error, name, None) for name in names)):
        if isinstance(inner, BaseException):
            yield from _inside(inner, seen)


def _runtime_env() -> dict[str, Any]:
    """What workers of a cluster that was started elsewhere must have in their environment to do as this process does."""
    # PLAIN_UPLOADS: a file system of a bucket is opened in Ray's own actors too, which do not come by `pd.store.s3`.
    wanted = {name: os.environ[name] for name in ("OMP_WAIT_POLICY", *PLAIN_UPLOADS)}
    if paths := search_path():
        wanted["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    return {"env_vars": {key: value for key, value in wanted.items() if key not in given_environment()}}


def _even_share(cpus: list[float], gpus: list[float], workers: int, each_gpu: float) -> float:
    """The most CPUs each worker can have such that all fit and one slot stays free; below one, a fraction.

    Workers with GPUs share the CPUs of the machines that have some: those of others would be waited for in vain.
    """
    usable = [cpu for cpu, gpu in zip(cpus, gpus, strict=True) if gpu >= each_gpu]
    spare = max(sum(usable) - 1.0, 0.5)
    most = int(spare // workers)
    for each in range(most, 0, -1):
        if _fits_both(cpus, gpus, each, each_gpu) >= workers:
            return float(each)
    part = int(min(spare / workers, 0.5) * 100) / 100
    while part > 0.01 and _fits_both(cpus, gpus, part, each_gpu) < workers:
        part = round(part - 0.01, 2)
    return part


def _fits(held: list[float], each: float) -> int:
    """How many parts of size `each` the nodes hold; a part lies on one node."""
    return sum(parts(node, each) for node in held)


def _fits_both(cpus: list[float], gpus: list[float], each_cpu: float, each_gpu: float) -> int:
    return sum(
        min(parts(cpu, each_cpu), parts(gpu, each_gpu)) if each_gpu else parts(cpu, each_cpu)
        for cpu, gpu in zip(cpus, gpus, strict=True)
    )


def _machines(nodes: list[Any]) -> str:
    return f"{len(nodes)} machine{'s' if len(nodes) != 1 else ''}"
