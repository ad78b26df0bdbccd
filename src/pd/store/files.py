"""Digests and sizes of files and folders."""

import hashlib
from pathlib import Path


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(path: Path) -> list[Path]:
    """The files of a folder in the order of their relative names, or the file itself; hidden ones left out."""
    if path.is_file():
        return [path]
    found = (item for item in path.rglob("*") if item.is_file())
    return sorted(item for item in found if not any(part.startswith(".") for part in item.relative_to(path).parts))


def digest_folder(path: Path) -> str:
    """First 16 hex digits of the SHA-256 over a folder's relative names and contents (or one file's content)."""
    whole = hashlib.sha256()
    for item in files_of(path):
        name = item.name if item == path else item.relative_to(path).as_posix()
        whole.update(f"{name}\0{digest_file(item)}\n".encode())
    return whole.hexdigest()[:16]


def size_of(path: Path) -> int:
    """Bytes in a file or folder; 0 when it is not there."""
    return sum(item.stat().st_size for item in files_of(path)) if path.exists() else 0
