"""What the answers of a cluster's machines mean, beside this one's. A line a check, or a line a machine that differs."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pd.config import Settings
from pd.doctor.finding import Finding, left_out, ok, todo
from pd.doctor.node import Node, Questions, look_here

SKEW_S = 60.0  # ours: more than a lease's renewals and certificates made just now bear
SHARED_BYTES = 2**28  # below it our Ray puts its object store into a file; see engine.ray_start
FREE_BYTES = 5 * 2**30  # ours: sessions, spilled objects and scratch of a small run
FULL = 0.95  # Ray spills nothing to a disk that is fuller (local_fs_capacity_threshold)


def disk_and_memory(nodes: Sequence[Node]) -> list[Finding]:
    """Room for temporary files, and shared memory for Ray's object store, on each."""
    disk = _each(
        "disk",
        nodes,
        lambda node: (
            f"{node.free / 2**30:.1f} GiB free for temporary files of {node.total / 2**30:.0f}"
            if node.free < FREE_BYTES or node.free < (1 - FULL) * node.total
            else ""
        ),
        f"at least {min(node.free for node in nodes) / 2**30:.0f} GiB free for temporary files",
        "make room, or set TMPDIR (RAY_TMPDIR for Ray) to a larger disk before Ray starts",
    )
    if all(node.shared is None for node in nodes):
        return [*disk, left_out("shared memory", "no /dev/shm on this system")]
    memory = _each(
        "shared memory",
        nodes,
        lambda node: (
            f"/dev/shm has {node.shared / 2**20:.0f} MiB" if node.shared is not None and node.shared < SHARED_BYTES else ""
        ),
        f"/dev/shm has at least {min(node.shared for node in nodes if node.shared is not None) / 2**30:.1f} GiB",
        "give it more (`docker run --shm-size`, an emptyDir with medium Memory): without it Ray's objects go to a disk",
    )
    return [*disk, *memory]


def versions(nodes: Sequence[Node], here: Node) -> list[Finding]:
    """Python and the packages of each node, which must be those of this machine."""

    def differs(node: Node) -> str:
        pairs = [("Python", node.python, here.python)]
        pairs += [(name, node.versions.get(name, "none"), own) for name, own in here.versions.items()]
        return ", ".join(f"{name} {theirs} (here {own})" for name, theirs, own in pairs if theirs != own)

    return _each(
        "versions",
        nodes,
        differs,
        f"Python {here.python}, Ray {here.versions.get('ray', 'none')} and the rest as here",
        "install one environment everywhere: `pip install --constraint constraints.txt`",
    )


def clocks(nodes: Sequence[Node], apart: Sequence[float]) -> list[Finding]:
    """Clocks, as seconds apart from this machine's."""
    off = dict(zip((id(node) for node in nodes), apart, strict=True))
    return _each(
        "clocks",
        nodes,
        lambda node: f"{off[id(node)]:+.0f} s beside this machine's clock" if abs(off[id(node)]) > SKEW_S else "",
        f"within {SKEW_S:.0f} s of this machine's",
        "set the clock (NTP)",
    )


def gpus(nodes: Sequence[Node], of_ray: float | None, settings: Settings | None) -> list[Finding]:
    """What the driver shows, what torch sees, what Ray hands out, and what the settings ask for."""
    there = sum(node.gpus for node in nodes)
    wants = asked_for(settings)
    found = []
    if wants and not (there if of_ray is None else of_ray):
        fix = f"set {wants[0]} to 0, or start Ray where there are GPUs (`ray start --num-gpus=N` says how many)"
        found.append(todo("GPUs", f"{' and '.join(wants)} ask for GPUs, and there is none", fix))
    if not there:
        return found or [ok("GPUs", "none here, and none is asked for" if settings else "none: all runs on CPUs")]
    found += _each(
        "GPUs",
        nodes,
        lambda node: (
            f"torch sees {node.gpus_used} of {node.gpus}" if node.gpus_used is not None and node.gpus_used < node.gpus else ""
        ),
        "",
        "install a torch for this driver's CUDA (`nvidia-smi` shows which), or look at CUDA_VISIBLE_DEVICES",
    )
    if of_ray is not None and of_ray < there:
        found.append(todo("GPUs", f"Ray hands out {of_ray:g} of {there}", "start Ray anew where they are, without --num-gpus"))
    return [each for each in found if each.says] or [ok("GPUs", f"{there}, and torch sees all")]


def asked_for(settings: Settings | None) -> list[str]:
    """The settings that ask for GPUs."""
    if settings is None:
        return []
    names = ("reid", "teacher", "generate", "student", "audit")
    return [f"{name}.gpus_per_worker" for name in names if getattr(getattr(settings, name), "gpus_per_worker", 0)]


def ways(nodes: Sequence[Node], questions: Questions) -> list[Finding]:
    """Whether each node reaches this process, and sees where runs will lie."""
    found = []
    if questions.door:
        address = questions.door[0]
        found += _each(
            "way from the nodes",
            nodes,
            lambda node: node.knock,
            f"all {len(nodes)} reach this process at {address}",
            f"open the way to {address} for the cluster's machines, or run pd on one of them: they bring their results there",
        )
    if questions.sign:
        found += _each(
            "runs on the nodes",
            nodes,
            lambda node: "" if node.sees else "does not see the folder",
            f"all {len(nodes)} see {questions.sign.parent}",
            "set `runs` to a folder that all of them mount at the same path, or to s3://",
        )
    if questions.bucket:
        found += _each(
            "bucket on the nodes",
            nodes,
            lambda node: node.bucket,
            f"all {len(nodes)} read {questions.bucket[0]}",
            "give every node the credentials and AWS_ENDPOINT_URL (in its environment before Ray starts), or a role",
        )
    return found


def this_machine(settings: Settings | None) -> list[Finding]:
    """All that can be told without a cluster."""
    here = look_here(Questions())
    return [*disk_and_memory([here]), *gpus([here], None, settings)]


def _each(check: str, nodes: Sequence[Node], wrong: Callable[[Node], str], fine: str, fix: str) -> list[Finding]:
    found = [todo(check, f"{node.name}: {what}", fix) for node in nodes if (what := wrong(node))]
    return found or [ok(check, fine)]


def sign_folder(runs: Path) -> Path:
    """The folder of runs, or what there is of the way to it."""
    folder = runs.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder
