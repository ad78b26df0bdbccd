"""Private images at `s3://`: fetched into a scratch of this machine for as long as they are read, then gone from it."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from pd.config import DataSettings
from pd.config.mirrored import SCRATCH, as_written, is_mirrored, mirror_home
from pd.dataset.decode import SUFFIXES, largest_file
from pd.dataset.readers.manifest import manifest
from pd.dataset.readers.source import Row
from pd.errors import UserError
from pd.store.atomic import disk_errors, make_folder
from pd.store.paths import leads_away
from pd.store.places import Place
from pd.store.scratch import scratch

_AT_ONCE = 16  # requests
_PART = 2**23


@contextmanager
def fetched(settings: DataSettings) -> Iterator[DataSettings]:
    """The same settings with a path on a disk. What a killed `pd` has fetched and left goes before.

    Of a file that is larger than an image may be, a little too much is fetched.

    Raises:
        UserError: there is nothing, the server cannot be reached or refuses, or the disk is full.
    """
    if settings.path is None or not is_mirrored(settings.path):
        yield settings
        return
    place = Place.parse(as_written(settings.path))
    home = mirror_home()
    make_folder(home)
    with disk_errors(home), scratch(SCRATCH, home) as aside:
        # Named by where it comes from, as folders of the mirror are: so it is shown in messages.
        whole, _, name = place.path.rpartition("/") if place.is_file else (place.path, "", "")
        folder = Path(aside, quote(whole, safe=""))
        folder.mkdir()
        if place.is_file:
            _fetch_manifest(Place.parse(f"s3://{whole}"), name, folder, settings)
        else:
            _fetch_folder(place, folder, settings)
        yield settings.model_copy(update={"path": folder / name})


def bucket_fingerprint(settings: DataSettings) -> str | None:
    """16 hex digits that change when an object does, by name, size or time: below the folder, or beside the manifest.

    None for images on a disk.

    Raises:
        UserError: as `fetched`.
    """
    if settings.path is None or not is_mirrored(settings.path):
        return None
    place = Place.parse(as_written(settings.path))
    if place.is_file:
        place = Place.parse(f"s3://{place.path.rpartition('/')[0]}")
    lines = sorted(f"{file.name}\0{file.size}\0{file.changed}\n" for file in place.files())
    return hashlib.sha256("".join(lines).encode(errors="surrogatepass")).hexdigest()[:16]


def _fetch_folder(place: Place, folder: Path, settings: DataSettings) -> None:
    """Images; of other files, which a reader of a plain folder counts, the names alone. Other readers get all there is."""
    names = [file.name for file in place.files()]
    if settings.preset is not None or settings.reader != "folder":
        images = [name for name in names if name.lower().endswith(SUFFIXES)]
        _fetch_all(place, images, folder, largest_file(settings))
        _fetch_all(place, sorted(set(names) - set(images)), folder, None)
        return
    images = [name for name in names if name.lower().endswith(SUFFIXES)]
    _fetch_all(place, images, folder, largest_file(settings))
    for name in set(names) - set(images):
        target = _target(place, name, folder)
        make_folder(target.parent)
        target.touch(mode=0o600)


def _fetch_manifest(place: Place, name: str, folder: Path, settings: DataSettings) -> None:
    """A manifest, and the images that it names; one that is not there is the reader's to tell."""
    _fetch_all(place, [name], folder, None)
    if settings.preset == "webdataset":
        return
    source = manifest(folder / name, settings.columns, settings.identity_from)
    if not source.embedded:
        root = folder.resolve()
        files = (row.data for row in source.rows() if isinstance(row, Row) and isinstance(row.data, Path))
        names = dict.fromkeys(file.relative_to(root).as_posix() for file in files)
        most = largest_file(settings) if settings.reader != "video" else None
        _fetch_all(place, [one for one in names if one != name], folder, most)


def _fetch_all(place: Place, names: list[str], folder: Path, most: int | None) -> None:
    def fetch(name: str) -> None:
        target = _target(place, name, folder)
        make_folder(target.parent)
        with suppress(FileNotFoundError), place.stream(name) as source, target.open("xb") as file:
            target.chmod(0o600)
            while part := source.read(_PART):
                file.write(part)
                if most is not None and file.tell() > most:
                    break

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for _ in pool.map(fetch, names):
            pass


def _target(place: Place, name: str, folder: Path) -> Path:
    """Where an object goes. A name in a bucket is any text."""
    if leads_away(name) or "\0" in name:
        raise UserError("an object's name leads out of the folder", code="bad-name", where=str(place), fix="name it otherwise")
    return folder / name
