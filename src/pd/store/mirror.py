"""Runs in a bucket: all work is done in a folder of this machine that mirrors the run, and files cross over here alone.

In the bucket a file has the name that it has in the run. What counts is told by commits: `RUN/.commits/PATH.json` names
the files of a folder (or the one file) with sizes and SHA-256. It is written when they are there, in a single request, and
S3 shows an object whole or not at all; before a file that it names is written over, it goes. So whoever finds a commit finds
what it names, and checks that it did. Commits of single files below a folder add to the folder's, until the next `push` of
the folder makes one of them all.

For paths that are on a disk, or a mount that all nodes share, nothing here does anything.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple
from urllib.parse import unquote

from pd.config.mirrored import as_written, is_mirrored, mirror_home
from pd.errors import UserError
from pd.store.atomic import PRIVATE_FILE, disk_errors, make_folder, write_bytes
from pd.store.digests import Digests
from pd.store.files import size_of
from pd.store.paths import plain

if TYPE_CHECKING:
    from pd.store.places import Place  # pyarrow takes its time to import, and paths on a disk do without

COMMITS = ".commits"
_AT_ONCE = 16  # requests
_PART = 2**23


class Content(NamedTuple):
    """What a commit tells of a file."""

    size: int
    sha256: str


Files = dict[str, Content]
"""By name, relative to the run."""


class _Spot(NamedTuple):
    """A path of a run in a bucket: the run there, the run's mirror here, and the path in either."""

    place: "Place"
    root: Path
    name: str

    def commit(self, name: str) -> str:
        return f"{COMMITS}/{name}.json"


def push(*paths: Path) -> None:
    """Bring files or folders into the bucket, as they are here, and commit them one by one. What is there already stays.

    Raises:
        UserError: the bucket cannot be written.
    """
    for path in paths:
        spot = _spot(path)
        if spot is None or not path.exists():
            continue
        digests = Digests(spot.root, spot.name)
        here = {_name(spot.root, file): Content(file.stat().st_size, digests.of(file)) for file in _files(path)}
        commits = _commits(spot) if path.is_dir() else _commit_of_one(spot)
        there = {name: content for files in commits.values() for name, content in files.items()}
        todo = [name for name in here if there.get(name) != here[name]]
        digests.keep()
        if commits.get(spot.name) == here and len(commits) == 1:
            _keep(spot, {spot.name: here})
            continue
        replaced = set(todo) & set(there)
        for name, files in commits.items():
            if replaced & set(files):
                spot.place.delete(spot.commit(name))
        _each(partial(_upload, spot), todo)
        spot.place.write(spot.commit(spot.name), _as_json(here))
        if path.is_dir():
            _each(spot.place.delete, [spot.commit(name) for name in commits if name != spot.name])
            _each(spot.place.delete, [file.name for file in spot.place.objects(spot.name) if file.name not in here])
        _keep(spot, {spot.name: here})


def pull(*paths: Path, broken: bool = False) -> None:
    """Fetch what is committed at or below each path and not here. In a folder that is committed as such other files go.

    Args:
        paths: files or folders.
        broken: go on without files that are not as committed; who asks looks for what is missing.

    Raises:
        UserError: a file is not as its commit says, or the bucket cannot be read.
    """
    for path in paths:
        spot = _spot(path)
        if spot is None:
            continue
        with _alone(spot):
            commits = _commits(spot)
            wanted = {name: content for files in commits.values() for name, content in files.items()}
            digests = Digests(spot.root, spot.name)
            todo = [name for name, content in wanted.items() if digests.of(spot.root / name) != content.sha256]
            _each(partial(_fetch, spot, wanted, broken), todo)
            for name in todo:
                digests.of(spot.root / name, wanted[name].sha256)
            digests.keep()
            if spot.name in commits and path.is_dir():
                for file in _files(path):
                    if _name(spot.root, file) not in wanted:
                        file.unlink()
            _keep(spot, commits)


def pull_all(path: Path) -> None:
    """As `pull`, and what lies there in the bucket that nobody committed; what is here alone goes."""
    spot = _spot(path)
    if spot is None:
        return
    pull(path)
    named = {name for files in _kept(spot).values() for name in files}
    there = spot.place.objects(spot.name)
    others = [file.name for file in there if file.name not in named]
    _each(partial(_fetch, spot, {}, False), others)
    for file in _files(path):
        if _name(spot.root, file) not in named.union(others):
            file.unlink()


def remove(*paths: Path, but: Iterable[Path] = ()) -> None:
    """Take what lies at or below each path out of the bucket, commits first; files here are the caller's to remove.

    Args:
        paths: files or folders.
        but: files or folders to leave alone.
    """
    for path in paths:
        spot = _spot(path)
        if spot is None:
            continue
        spared = [_name(spot.root, one) for one in but]
        gone = [name for name in _commits(spot) if not _below(name, spared)]
        _each(spot.place.delete, [spot.commit(name) for name in gone])
        objects = [file.name for file in spot.place.objects(spot.name)]
        _each(spot.place.delete, [name for name in objects if not _below(name, spared)])
        if not path.is_dir():
            spot.place.delete(spot.name)
        for name in gone:
            (spot.root / spot.commit(name)).unlink(missing_ok=True)


def refresh(path: Path) -> None:
    """Learn what is committed in a run or below a path of it, and fetch nothing: `committed` and `bytes_of` then tell of it.

    Raises:
        UserError: there is no such bucket, or no way to it.
    """
    spot = _spot(path)
    if spot is None:
        return
    spot.place.require_bucket()
    _keep(spot, _commits(spot))


def committed(path: Path) -> Files | None:
    """The files at or below a path that were committed when last looked; None for a path on a disk."""
    spot = _spot(path)
    if spot is None:
        return None
    above = [_kept_one(spot, name) for name in _above(spot.name)]
    known = {name: content for files in [*above, *_kept(spot).values()] for name, content in files.items()}
    return {name: content for name, content in known.items() if not spot.name or _below(name, [spot.name])}


def bytes_of(path: Path) -> int | None:
    """Bytes in a file or folder, hidden files left out; None when it is not there. In a bucket: as last looked."""
    files = committed(path)
    if files is None:
        return size_of(path) if path.exists() else None
    return sum(content.size for name, content in _visible(path, files)) if files else None


def committed_digest(path: Path) -> str:
    """As `pd.store.files.digest_folder`, of what is committed: nothing is read."""
    whole = hashlib.sha256()
    for name, content in _visible(path, committed(path) or {}):
        whole.update(f"{name or path.name}\0{content.sha256}\n".encode())
    return whole.hexdigest()[:16]


def listing(path: Path) -> list[tuple[str, int, int]] | None:
    """Names, sizes and times of all objects below a path, whoever put them there; None for a path on a disk."""
    spot = _spot(path)
    if spot is None:
        return None
    return sorted((file.name, file.size, file.changed) for file in spot.place.objects(spot.name))


def place_of(path: Path) -> "tuple[Place, str] | None":
    """The run that a path is of, in its bucket, and the path's name there; None for a path on a disk."""
    spot = _spot(path)
    return (spot.place, spot.name) if spot else None


def _visible(path: Path, files: Files) -> list[tuple[str, Content]]:
    """Names below a path and their contents, hidden files left out, in the order of `pd.store.files.files_of`."""
    spot = _spot(path)
    assert spot
    below = [(name[len(spot.name) + 1 :] if spot.name else name, content) for name, content in files.items()]
    return sorted((item for item in below if "/." not in f"/{item[0]}"), key=lambda item: item[0].split("/"))


def _spot(path: Path) -> _Spot | None:
    if not is_mirrored(path):
        return None
    home = mirror_home()
    runs, run, *parts = path.relative_to(home).parts
    return _Spot(_place(f"s3://{unquote(runs)}/{run}"), home / runs / run, "/".join(parts))


@lru_cache(maxsize=64)
def _place(url: str) -> "Place":
    from pd.store.places import Place

    return Place.parse(url)


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _below(name: str, folders: Iterable[str]) -> bool:
    return any(name == folder or name.startswith(f"{folder}/") for folder in folders)


def _files(path: Path) -> list[Path]:
    """All files, hidden ones too, but not those that somebody is writing."""
    if path.is_file():
        return [path]
    return [file for file in path.rglob("*") if file.is_file() and not file.name.endswith(".partial")]


def _commit_of_one(spot: _Spot) -> dict[str, Files]:
    found = spot.place.read(spot.commit(spot.name))
    return {} if found is None else {spot.name: _from_json(spot, spot.name, found)}


def _commits(spot: _Spot) -> dict[str, Files]:
    """What the bucket's commits at and below a path name."""
    found = _commit_of_one(spot) if spot.name else {}
    below = f"{COMMITS}/{spot.name}".rstrip("/")
    names = [file.name.removeprefix(f"{COMMITS}/").removesuffix(".json") for file in spot.place.objects(below)]
    for name, data in zip(names, _each(lambda name: spot.place.read(spot.commit(name)), names), strict=True):
        if data is not None:  # somebody has just made one of many
            found[name] = _from_json(spot, name, data)
    return found


def _kept(spot: _Spot) -> dict[str, Files]:
    """The same, as last looked."""
    folder = spot.root / COMMITS
    files = [spot.root / spot.commit(spot.name), *(folder / spot.name).rglob("*.json")]
    names = [_name(folder, file).removesuffix(".json") for file in files if file.exists()]
    return {name: _kept_one(spot, name) for name in names}


def _kept_one(spot: _Spot, name: str) -> Files:
    try:
        return _from_json(spot, name, (spot.root / spot.commit(name)).read_bytes())
    except FileNotFoundError:
        return {}


def _above(name: str) -> list[str]:
    """The folders that a name is in, the outermost first."""
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _keep(spot: _Spot, commits: dict[str, Files]) -> None:
    """Remember what was found at and below a path; forget what else was."""
    for name in set(_kept(spot)) - set(commits):
        (spot.root / spot.commit(name)).unlink(missing_ok=True)
    for name, files in commits.items():
        write_bytes(spot.root / spot.commit(name), _as_json(files))


def _as_json(files: Files) -> bytes:
    return json.dumps(files, sort_keys=True, indent=0).encode()


def _from_json(spot: _Spot, name: str, data: bytes) -> Files:
    try:
        files = {key: Content(int(size), str(digest)) for key, (size, digest) in json.loads(data).items()}
        if not all(_below(key, [name]) and plain(key) for key in files):
            raise ValueError("a name that is not below")
    except (ValueError, TypeError, AttributeError):
        where = f"{spot.place}/{spot.commit(name)}"
        raise UserError(
            "this is no commit", code="damaged", where=where, fix="delete it; what it told of is made again"
        ) from None
    return files


def _upload(spot: _Spot, name: str) -> None:
    spot.place.upload(name, spot.root / name)


def _fetch(spot: _Spot, wanted: Files, broken: bool, name: str) -> None:
    """Bring one object here, whole or not at all, and look whether it is what was committed, if anything was."""
    from pd.store.places import patiently

    target, content = spot.root / name, wanted.get(name)
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    with disk_errors(target):
        make_folder(target.parent)
        try:
            found = patiently(partial(_stream, spot, name, aside))
            if aside.exists() and (content is None or found == content.sha256):
                aside.rename(target)
            elif content is not None and broken:
                target.unlink(missing_ok=True)
            elif content is not None:
                raise UserError(
                    "is not what was committed",
                    code="damaged",
                    where=as_written(target),
                    fix="if no other pd is writing this run, delete the commit that names it, in "
                    f"{spot.place}/{COMMITS}/, and run the same command again",
                )
        finally:
            aside.unlink(missing_ok=True)


def _stream(spot: _Spot, name: str, aside: Path) -> str:
    """Copy an object into a new file; returns its SHA-256. Where there is none, there is no file either."""
    aside.unlink(missing_ok=True)
    found = hashlib.sha256()
    with contextlib.suppress(FileNotFoundError), spot.place.stream(name) as source, _private(aside) as file:
        while part := source.read(_PART):
            found.update(part)
            file.write(part)
    return found.hexdigest()


def _private(path: Path) -> BinaryIO:
    """A new file that is its owner's alone."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE), "wb")


@contextlib.contextmanager
def _alone(spot: _Spot) -> Iterator[None]:
    """Processes of a machine fetch the same only once: the second finds it there."""
    lock = spot.root / COMMITS / f".{spot.name.replace('/', '%')[-100:]}.lock"
    with disk_errors(lock):
        make_folder(lock.parent)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _each(work: Callable[[str], Any], names: list[str]) -> list[Any]:
    """Requests wait for the network: many go out at once."""
    if len(names) < 2:
        return [work(name) for name in names]
    with ThreadPoolExecutor(min(_AT_ONCE, len(names))) as pool:
        return list(pool.map(work, names))
