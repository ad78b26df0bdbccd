"""Many images in one file: the rows of Parquet and the members of a tar shard, of this machine or of a bucket."""

import io
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pd.dataset.decode import SUFFIXES
from pd.dataset.parquet_rows import DAMAGE, count_rows, holds_bytes, holds_text, row_batches
from pd.dataset.readers.source import plain
from pd.errors import UserError
from pd.store.places import Place

_BESIDE = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)  # headers of the next
_LONGEST_NAME = 1 << 20  # bytes of such a header; tarfile reads it whole
LABEL = "label."  # of columns
LONGEST_PROMPT = 10_000  # characters that are read
_MOST_LABELS = 1000
_BUFFER = {False: 1 << 13, True: 1 << 20}  # bytes read at once for tar headers; a bucket takes as long for one as for many


def rows_in(place: Place, name: str) -> int:
    """How many rows a Parquet file has.

    Raises:
        UserError: it cannot be read as Parquet, claims more rows than it can hold, or has no column `image` of images.
    """
    with _readable(place, name), place.open(name) as file:
        parquet = pq.ParquetFile(file)
        kinds = [field.type for field in parquet.schema_arrow if field.name == "image"]
        rows = count_rows(parquet, file.size(), where(place, name))
    if len(kinds) != 1 or not holds_bytes(kinds[0]):
        fix = "name it so: bytes, or a struct {bytes, path}"
        raise UserError(
            "no column 'image'" if not kinds else "no column 'image' of images",
            code="no-such-column",
            where=where(place, name),
            fix=fix,
        )
    return rows


def read_rows(place: Place, name: str, rows: Sequence[int]) -> Iterator[bytes]:
    """The images of ascending row numbers; only the row groups that hold one are read. A missing image is empty.

    Raises:
        UserError: the file is damaged inside, or has fewer rows than it said.
    """
    for batch in _batches(place, name, rows, ["image"]):
        for value in batch:
            image = value["image"]
            yield (image.get("bytes") if isinstance(image, dict) else image) or b""


def read_words(place: Place, name: str, rows: Sequence[int]) -> Iterator[tuple[str, dict[str, float]]]:
    """What ascending rows say beside their images: `prompt`, empty where there is none, and numbers by `label.NAME`.

    Raises:
        UserError: the file is damaged inside, has fewer rows than it said, or too many columns of labels.
    """
    with _readable(place, name), place.open(name) as file:
        fields = list(pq.ParquetFile(file).schema_arrow)
    found = Counter(field.name for field in fields)
    once = [field for field in fields if found[field.name] == 1]
    prompts = [field.name for field in once if field.name == "prompt" and holds_text(field.type)]
    labels = [field.name for field in once if field.name.startswith(LABEL) and _is_number(field.type)]
    if len(labels) > _MOST_LABELS:
        what = f"{len(labels)} columns of labels; at most {_MOST_LABELS} are read"
        raise UserError(what, code="unreadable-file", where=where(place, name), fix="leave some out")
    if not (prompts or labels):
        yield from (("", {}) for _ in rows)
        return
    for batch in _batches(place, name, rows, [*prompts, *labels]):
        for value in batch:
            numbers = {key.removeprefix(LABEL): value[key] for key in labels}
            prompt = value["prompt"] if prompts else None
            yield (prompt or "")[:LONGEST_PROMPT], {key: float(number) for key, number in numbers.items() if number is not None}


def read_columns(
    place: Place, name: str, rows: Sequence[int], columns: Sequence[str]
) -> Iterator[dict[str, str | float | None]]:
    """Values of columns of text, numbers or booleans, beside each row; None where missing.

    Args:
        place: where the Parquet file lies.
        name: of the file.
        rows: ascending.
        columns: that it may have; one that it has not is missing everywhere.

    Raises:
        UserError: the file is damaged inside, or a column is of another type.
    """
    with _readable(place, name), place.open(name) as file:
        fields = {field.name: field.type for field in pq.ParquetFile(file).schema_arrow}
    there = [column for column in columns if column in fields]
    for column in there:
        if not (holds_text(fields[column]) or _is_number(fields[column])):
            raise UserError(
                f"the column '{column}' is neither text nor numbers",
                code="bad-column",
                where=where(place, name),
                fix="name another",
            )
    if not there:
        yield from ({} for _ in rows)
        return
    for batch in _batches(place, name, rows, there):
        for value in batch:
            yield {
                column: said[:LONGEST_PROMPT] if isinstance(said, str) else None if said is None else float(said)
                for column, said in value.items()
            }


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _batches(place: Place, name: str, rows: Sequence[int], columns: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    """Ascending rows, some at a time."""
    given = 0
    with _readable(place, name), place.open(name) as file:
        parquet, first = pq.ParquetFile(file), 0
        for group in range(parquet.num_row_groups):
            after = first + parquet.metadata.row_group(group).num_rows
            here = [row for row in rows if first <= row < after]
            for batch in row_batches(parquet, columns, [group]) if here else ():
                asked = [row - first for row in here if first <= row < first + len(batch)]
                yield batch.take(pa.array(asked, pa.int64())).to_pylist()
                given, first = given + len(asked), first + len(batch)
                if first > here[-1]:
                    break
            first = after
    if given != len(rows):
        raise UserError("not readable as Parquet (fewer rows than it says)", code="unreadable-file", where=where(place, name))


@contextmanager
def _readable(place: Place, name: str) -> Iterator[None]:
    """Turn what a damaged Parquet file raises into one line."""
    try:
        yield
    except DAMAGE as error:
        raise UserError(
            f"not readable as Parquet ({type(error).__name__})", code="unreadable-file", where=where(place, name)
        ) from None


# An archive ends in blocks of zeros: without them it was cut short. typeshed has no names for these.
_DAMAGED = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError, tarfile.EmptyHeaderError)  # type: ignore[attr-defined]


class _Header(tarfile.TarInfo):
    """A tar header whose numbers can be believed: `tarfile` of Python 3.11 goes in circles on negative sizes (CVE-2025-8194),
    takes a damaged header, or one cut short, for the end of the archive, and reads a name of any length."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        try:
            found = super().frombuf(buf, encoding, errors)
        except _DAMAGED as error:
            raise tarfile.ReadError(str(error)) from None
        beside = found.type in (*_BESIDE, tarfile.XGLTYPE)
        if found.size < 0 or (beside and found.size > _LONGEST_NAME):
            raise tarfile.ReadError("a size that cannot be")
        return found


def members(place: Place, name: str, suffixes: Sequence[str] = SUFFIXES) -> dict[str, tuple[int, int]]:
    """Where the images of a tar shard begin, and how long they are. Plain files only: no links, no holes.

    Args:
        place: where the shard lies.
        name: of the shard.
        suffixes: of the files that are looked for, where it is not images.

    Raises:
        UserError: it cannot be read as tar, or holds a name twice.
    """
    found: dict[str, tuple[int, int]] = {}
    try:
        with (
            place.open(name) as file,
            io.BufferedReader(file, _BUFFER[place.remote]) as buffer,
            tarfile.open(fileobj=buffer, mode="r:", tarinfo=_Header) as tar,
        ):
            for member in tar:
                if member.size < 0:  # said by an extended header
                    raise tarfile.ReadError("a size that cannot be")
                path = PurePosixPath(member.name)
                if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
                    continue
                if path.suffix.lower() not in suffixes or path.name.startswith("."):
                    continue
                if member.name in found:
                    what = f"holds '{plain(member.name)}' twice"
                    raise UserError(
                        what, code="unreadable-file", where=where(place, name), fix="give each image a name of its own"
                    )
                found[member.name] = (member.offset_data, member.size)
    except UserError:
        raise
    except Exception as error:  # on damaged archives tarfile raises nearly anything
        what = f"not readable as tar ({type(error).__name__})"
        raise UserError(
            what, code="unreadable-file", where=where(place, name), fix="fetch it again; unpack a compressed one"
        ) from None
    return found


class Beside:
    """Files of a tar shard that belong to an image: of the same name but for the suffix, or of the same WebDataset key.

    `22.01.txt` belongs to `22.01.png`; where there is none, `a.txt` to `a.seg.png`, whose key ends at the first dot. A leading
    `./` and capitals in the suffix make no difference.

    Args:
        names: of the files.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {_uniform(name): name for name in names}

    def find(self, image: str, suffix: str) -> str | None:
        """The name of the file with this suffix, with its dot, that belongs to an image."""
        name = _uniform(image)
        folder, slash, last = name.rpartition("/")
        for stem in (name[: -len(PurePosixPath(name).suffix)], folder + slash + last.split(".", 1)[0]):
            if (found := self._names.get(stem + suffix)) is not None:
                return found
        return None


def _uniform(name: str) -> str:
    while name.startswith("./"):
        name = name[2:]
    suffix = PurePosixPath(name).suffix
    return name[: len(name) - len(suffix)] + suffix.lower()


def where(place: Place, name: str) -> str:
    """A file of a place, for messages; the place alone when it is that file."""
    return str(place) if place.is_file else plain(f"{place}/{name}")
