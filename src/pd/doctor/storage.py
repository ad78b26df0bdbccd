"""The folder for runs: what pd relies on there (docs/storage.md, "A shared mount") is tried."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from pd.doctor.finding import Finding, ok, todo
from pd.doctor.machines import FREE_BYTES, sign_folder

FIX = "use a disk, NFSv4, Lustre, CephFS or EFS, or name the bucket itself (docs/storage.md)"


def storage(runs: Path) -> list[Finding]:
    """Write, lock and rename below the folder of runs, or of what there is of the way to it; all goes again."""
    folder = sign_folder(runs)
    if not os.access(folder, os.W_OK | os.X_OK):
        return [todo("runs", f"{folder} cannot be written to", "choose another folder (`runs`), or ask for the right")]
    with contextlib.ExitStack() as stack:
        aside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder)))
        (aside / "a").mkdir()
        (aside / "a" / "file").write_bytes(b"pd")
        try:
            (aside / "a").rename(aside / "b")
        except OSError:
            return [todo("runs", f"{folder}: folders cannot be renamed", FIX)]
        if (aside / "b" / "file").read_bytes() != b"pd":
            return [todo("runs", f"{folder}: a renamed folder has not what was written", FIX)]
        with (aside / "b" / "file").open("rb+") as one, (aside / "b" / "file").open("rb+") as other:
            try:
                fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return [todo("runs", f"{folder}: files cannot be locked", FIX)]
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return [todo("runs", f"{folder}: locks lock nobody out", FIX)]
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        return [todo("runs", f"{folder} has {free / 2**30:.1f} GiB free", "make room; `pd plan` says how much a run takes")]
    return [ok("runs", f"{folder} is written, locked and renamed in; {free / 2**30:.0f} GiB free")]
