"""Writing that is whole or not there: aside first, then renamed. Folders get mode 0700, files 0600."""

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from pd.errors import UserError

PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600


def make_folder(path: Path) -> None:
    """Make a folder and those above it that are missing, for their owner alone, whatever the umask; there already: nothing."""
    for folder in [*reversed(path.parents), path]:
        if not folder.is_dir():  # mkdir(parents=True) would give the folders above the umask's mode
            folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


@contextlib.contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it replaces `path`, on an error it is removed.

    Raises:
        UserError: the disk is full or the place cannot be written.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    with disk_errors(path):
        make_folder(path.parent)
        sweep(path)
        aside.mkdir(mode=PRIVATE_FOLDER)
        try:
            yield aside
            make_private(aside)
            _replace_folder(aside, path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def sweep(path: Path) -> None:
    """Remove what a killed `write_folder(path)` left, and put back the old folder if it died between two renames."""
    old = path.with_name(f".{path.name}.old")
    if old.exists():
        if path.exists():
            shutil.rmtree(old)
        else:
            old.rename(path)
    for left in path.parent.glob(f".{path.name}.*.partial"):
        shutil.rmtree(left, ignore_errors=True)


def _replace_folder(new: Path, path: Path) -> None:
    old = path.with_name(f".{path.name}.old")
    if path.exists():
        path.rename(old)
    new.rename(path)
    if old.exists():
        shutil.rmtree(old)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole: temporary name, fsync, rename. Raises UserError when the disk is full."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    with disk_errors(path):
        make_folder(path.parent)
        try:
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(path)
        finally:
            aside.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write a JSON value with sorted keys, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode())


def keep_private() -> None:
    """Let what this process writes from now on be its owner's alone: workers have the umask of whoever started the cluster."""
    os.umask(0o777 - PRIVATE_FOLDER)


def make_private(folder: Path) -> None:
    """Take group and other rights from a folder and all that is in it."""
    folder.chmod(PRIVATE_FOLDER)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden place into one clear line."""
    try:
        yield
    except Exception as error:
        if told := disk_error(error, path):
            raise told from error
        raise


def disk_error(error: BaseException, path: Path) -> UserError | None:
    """In words, what a disk or a place has refused; None when it was something else."""
    number = getattr(error, "errno", None)
    if number is None and (found := _NUMBER.search(str(error))) and not isinstance(error, UserError):
        number = int(found[1] or found[2])
    if number not in _DISK:
        return None
    return UserError(f"cannot write: {os.strerror(number)}", code="cannot-write", where=str(path), fix=_DISK[number])


_NUMBER = re.compile(r"\[Errno (\d+)\]|\(os error (\d+)\)")  # safetensors, and what copies folders, say it in their text alone

_DISK = {
    28: "make room, then run the same command again: what was finished is kept",  # ENOSPC
    122: "your quota is used up; make room and run the same command again",  # EDQUOT
    13: "choose a folder that you may write to",  # EACCES
    17: "a file is in the way; choose another folder",  # EEXIST
    20: "a file is in the way; choose another folder",  # ENOTDIR
    30: "the file system is read-only; choose another folder",  # EROFS
}
