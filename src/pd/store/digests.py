"""SHA-256 of files that were hashed before: to read all of a run again at each start would take long."""

import json
from pathlib import Path

from pd.store.atomic import write_bytes
from pd.store.files import digest_file

FOLDER = ".digests"


class Digests:
    """Digests of files at or below a path of a run; a file with another size or time than when it was hashed is hashed again.

    Args:
        root: of the run, which keeps them.
        name: of the path.
    """

    def __init__(self, root: Path, name: str) -> None:
        self._root, self._file = root, root / FOLDER / f"{name}.json"
        self._new: dict[str, tuple[int, int, str]] = {}
        try:
            self._old = {key: tuple(value) for key, value in json.loads(self._file.read_text(encoding="utf-8")).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._old = {}

    def of(self, path: Path, known: str = "") -> str:
        """A file's digest, hex; empty where there is no such file. `known` is believed: somebody has just hashed it."""
        try:
            info = path.stat()
        except FileNotFoundError:
            return ""
        name = path.relative_to(self._root).as_posix()
        old = self._old.get(name, ())
        digest = known or (str(old[2]) if old[:2] == (info.st_size, info.st_mtime_ns) else digest_file(path))
        self._new[name] = info.st_size, info.st_mtime_ns, digest
        return digest

    def keep(self) -> None:
        """Keep what was asked for, for the next time."""
        if self._new != self._old:
            write_bytes(self._file, json.dumps(self._new).encode())
