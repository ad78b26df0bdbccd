"""What outlives a machine: paths of a run, written whole here, and in the bucket where the run lies in one.

Who makes, reads and discards them by these functions need not know where a run lies; `pd.store.mirror` is called here, and by
`pd.stages.bucket` for the inputs and outputs of stages. On a disk nothing is done beyond the disk.
"""

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from pd.store.atomic import write_bytes, write_folder, write_json
from pd.store.mirror import committed, pull, push, remove


@contextmanager
def keep_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; on success it replaces `path`, and is kept.

    Raises:
        UserError: as `write_folder`, or the bucket cannot be written.
    """
    with write_folder(path) as aside:
        yield aside
    push(path)


def keep_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, and keep it; raises UserError as `keep_folder`."""
    write_bytes(path, data)
    push(path)


def keep_json(path: Path, value: object) -> None:
    """Write a JSON value as `write_json` does, and keep it; raises UserError as `keep_folder`."""
    write_json(path, value)
    push(path)


def keep(*paths: Path) -> None:
    """Keep what others have written, one after the other; of a folder what is in it, and nothing else, counts from then on.

    Raises:
        UserError: the bucket cannot be written.
    """
    push(*paths)


def at_hand(path: Path, broken: bool = False) -> Path:
    """The same path, once what is kept there is on this machine.

    Args:
        path: a file or folder; there need be none.
        broken: go on without files that are not as they were kept; who asks looks for what is missing.

    Raises:
        UserError: what is there is not as it was kept, or the bucket cannot be read.
    """
    pull(path, broken=broken)
    return path


def there(path: Path) -> bool:
    """Whether there is something that one of the functions above wrote, which is then at hand, and kept.

    Raises:
        UserError: as `at_hand` and `keep`.
    """
    pull(path)
    if not path.exists():
        return False
    if committed(path) == {}:  # killed once it was whole, before it was in the bucket
        push(path)
    return True


def discard(*paths: Path, but: Collection[Path] = (), must: bool = True) -> None:
    """Remove files and folders, first where they are kept; that there are none is no error.

    Args:
        paths: files or folders.
        but: of what lies in a folder, these stay.
        must: whether it is an error that one cannot be removed from the disk.
    """
    remove(*paths, but=but)
    for path in paths:
        for gone in [one for one in path.iterdir() if one not in but] if but else [path]:
            if gone.is_dir():
                shutil.rmtree(gone, ignore_errors=not must)
            else:
                gone.unlink(missing_ok=True)
