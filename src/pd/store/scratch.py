"""Folders for a while, their owner's alone. One that a killed process left is swept when the next is made beside it."""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pd.store.atomic import PRIVATE_FILE

_LOCK = ".lock"  # in each folder; held for as long as its process lives


@contextlib.contextmanager
def scratch(prefix: str, home: Path) -> Iterator[Path]:
    """Yield an empty folder below `home` (but for a hidden file), which goes afterwards."""
    folder, lock = make_scratch(prefix, home)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def make_scratch(prefix: str, home: Path) -> tuple[Path, int]:
    """Make a folder that its caller removes, and sweep those with the same prefix that nobody holds.

    Returns:
        the folder, and a descriptor that holds it for as long as it is open.
    """
    for left in home.glob(f"{prefix}*"):
        _sweep(left)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=home))
        # Whoever sweeps may come between the two: then the folder, or the file that was locked, is no longer there.
        with contextlib.suppress(FileNotFoundError):
            lock = _open(folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock), (folder / _LOCK).stat()):
                    return folder, lock
            os.close(lock)


def _sweep(folder: Path) -> None:
    """Remove a folder of this user's whose process is gone."""
    with contextlib.suppress(OSError):  # gone meanwhile, or held
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return
        lock = _open(folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(lock)


def _open(folder: Path) -> int:
    return os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, PRIVATE_FILE)
