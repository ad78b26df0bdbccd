"""A folder with one sub-folder per identity: `FOLDER/WHO/photo.png`."""

from collections import Counter
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path

from pd.dataset.decode import SUFFIXES
from pd.dataset.readers.identity import identity_of
from pd.dataset.readers.source import BadRow, Row, Source, plain, utf8
from pd.errors import UserError
from pd.store.paths import inside, walk


def folder(path: Path, identity_from: int | str | None = None) -> Source:
    """Every image below `path`; the folder that it lies in names who it shows. Hidden files are left out.

    Args:
        path: the folder.
        identity_from: a pattern or a depth, where another part of the way names who it shows.

    Raises:
        UserError: no such folder, one that cannot be read, no image in it, or folders inside those of people.
    """
    ignored: Counter[str] = Counter()
    names = list(image_names(path, ignored))
    if not names:
        raise UserError(
            "no image in this folder",
            code="no-images",
            where=str(path),
            fix=f"put them at WHO/photo.png; read are {' '.join(SUFFIXES)}",
        )
    if identity_from is None:
        refuse_nested(names, path)
    root = path.resolve()

    def rows() -> Iterator[Row | BadRow]:
        for name in names:
            who, slash, _ = name.partition("/")
            if identity_from is not None:
                who = slash = identity_of(name, identity_from)
            file = inside(root, name)
            if not utf8(name):
                yield BadRow(name, None, "unsupported", "a name that is not UTF-8")
            elif file is None:
                yield BadRow(name, None, "outside the folder", "a link that leads out")
            elif not slash or not who.strip():
                yield BadRow(name, None, "no identity", "nothing on its way names who it shows")
            else:
                yield Row(name, None, name, file, who.strip())

    return Source(str(path), len(names), {}, rows, ignored=ignored)


def refuse_nested(names: Iterable[str], path: Path) -> None:
    """Of two folders on the way to an image either may be a person: `p10/p10000032/x.jpg` is no picture of one "p10".

    Args:
        names: of images or clips, relative, with `/`.
        path: that they are relative to.

    Raises:
        UserError: there is such an image; it is named.
    """
    deep = {name.rpartition("/")[0]: name for name in names if name.count("/") > 1}
    if deep:
        first = min(deep)
        people = len({name.partition("/")[0] for name in deep})
        raise UserError(
            f"folders inside the sub-folders of {people} people, such as '{plain(first)}': who is shown is not clear",
            code="ambiguous-layout",
            where=str(path),
            fix="say which in data.identity_from: 2 for the second folder on the way, or a pattern such as p\\d{8}",
        )


def image_names(path: Path, ignored: MutableMapping[str, int]) -> Iterator[str]:
    """Relative names, with `/` and in order, of the files below `path` that are images by their suffix.

    Links to folders are not followed: they are named like an image, so that the caller sees where they lead.

    Args:
        path: the folder.
        ignored: counts the other files by suffix.
    """
    if not path.exists():
        raise UserError("no such folder", code="no-such-folder", where=str(path), fix="check the path")
    if not path.is_dir():
        raise UserError(
            "this is a file, not a folder",
            code="no-such-folder",
            where=str(path),
            fix="a CSV or Parquet needs `reader: manifest`",
        )

    for name, link in walk(path):
        if link or name.lower().endswith(SUFFIXES):
            yield name
        else:
            suffix = Path(name).suffix.lower() or "no suffix"
            ignored[suffix] = ignored.get(suffix, 0) + 1
