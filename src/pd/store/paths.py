"""Names from a manifest or a folder, held to the inside of that folder; and the walk through it."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from pd.errors import UserError
from pd.progress import printable


def inside(root: Path, name: str) -> Path | None:
    """The file that `name` means; None when it is a URL, absolute, climbs with `..`, or a link leads out of the folder.

    Args:
        root: the folder, resolved.
        name: relative to it, with `/`.
    """
    if leads_away(name):
        return None
    path = root / name
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path  # a loop of links or an impossible name: opening it finds no file
    return path if real.is_relative_to(root) else None


def leads_away(name: str) -> bool:
    """Whether a name, by its text alone, is a URL, absolute, or climbs with `..`."""
    if "://" in name or name.startswith(("data:", "file:")):
        return True
    return bool(PureWindowsPath(name).anchor) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts


def plain(name: str) -> bool:
    """Whether a name, by its text alone, is that of a file below: no part is empty or dots, and nothing leads away."""
    return not ({"", ".", ".."} & set(name.split("/")) or "\0" in name or leads_away(name))


def walk(folder: Path) -> Iterator[tuple[str, bool]]:
    """Relative names, with `/` and in order, of all files below a folder; hidden ones and hidden folders left out.

    Links to folders are not followed: they are named like a file, and marked True.

    Raises:
        UserError: a folder that cannot be read.
    """

    def fail(error: OSError) -> None:
        raise UserError(
            f"cannot be read: {error.strerror}", code="unreadable-file", where=printable(str(error.filename))
        ) from None

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = {name for name in folders if Path(parent, name).is_symlink()}
        for name in sorted([*files, *links]):
            if not name.startswith("."):
                yield Path(parent, name).relative_to(folder).as_posix(), name in links
