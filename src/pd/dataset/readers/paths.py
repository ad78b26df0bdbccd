"""Names from a manifest or a folder, held to the inside of that folder."""

from pathlib import Path, PurePosixPath, PureWindowsPath


def inside(root: Path, name: str) -> Path | None:
    """The file that `name` means; None when it is a URL, absolute, climbs with `..`, or a link leads out of the folder.

    Args:
        root: the folder, resolved.
        name: relative to it, with `/`.
    """
    if "://" in name or name.startswith(("data:", "file:")):
        return None
    if PureWindowsPath(name).anchor or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return None
    path = root / name
    try:
        real = path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path  # a loop of links or an impossible name: opening it finds no file
    return path if real.is_relative_to(root) else None
