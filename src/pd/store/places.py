"""Where files lie: a folder or file of this machine, or of an S3 bucket. What differs between the two is known here alone."""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa
from pyarrow import fs

from pd.config.mirrored import bucket_and_prefix, check_slashes
from pd.errors import UserError
from pd.progress import printable
from pd.store.paths import inside, leads_away, plain, walk
from pd.store.s3 import BUSY, explained, s3_filesystem

Found = TypeVar("Found")

_PART = 2**23  # bytes held of a file that is sent
# Between attempts at a server that is busy, beside those of the SDK: it does not repeat a read whose answer was an error.
PAUSES_S = (0.5, 1.0, 2.0)


class BusyError(UserError):
    """The server did not do this now, and may if it is asked again."""


def patiently(work: Callable[[], Found]) -> Found:
    """Do what may be done twice, again and again while the server is busy; raises BusyError in the end."""
    for pause in PAUSES_S:
        with suppress(BusyError):
            return work()
        time.sleep(pause)
    return work()


class File(NamedTuple):
    """A file as a listing shows it.

    Attributes:
        name: relative to the place, with `/`.
        size: bytes.
        changed: nanoseconds since 1970; S3 tells whole seconds.
        link: it is a link to a folder, which is not followed.
    """

    name: str
    size: int
    changed: int
    link: bool


@dataclass(frozen=True)
class Place:
    """A folder or a single file. It can be pickled: whoever reads opens a file system of their own.

    Credentials come from where pyarrow looks for them (the environment, ~/.aws, the instance), never from the place's name.

    Attributes:
        text: as people wrote it, for messages.
        path: absolute, or `bucket/prefix`.
        remote: it lies in a bucket.
    """

    text: str
    path: str
    remote: bool

    @classmethod
    def parse(cls, text: str) -> "Place":
        """A place from `s3://bucket/prefix` or a local path.

        Raises:
            UserError: another scheme, no bucket, a missing slash, or credentials in the URL (which is then not repeated).
        """
        check_slashes(text)
        if "://" not in text:
            return cls(text, str(Path(text).absolute()), False)
        return cls(text.rstrip("/"), "/".join(bucket_and_prefix(text)), True)

    def __str__(self) -> str:
        return self.text

    @cached_property
    def is_file(self) -> bool:
        """Whether this is one file, and no folder. Asked once: who gets the pickled place needs no answer of its own.

        Raises:
            UserError: there is nothing, no permission, or no way to the server.
        """
        if not self.remote and not Path(self.path).exists():
            raise UserError("no such folder", code="no-such-folder", where=self.text, fix="check the path")
        with self._explained():
            filesystem = self._filesystem()
            kind = filesystem.get_file_info(self.path).type
            if kind == fs.FileType.NotFound:
                bucket = self.path.partition("/")[0]
                missing = "object or prefix" if filesystem.get_file_info(bucket).type != kind else "bucket"
                raise UserError(
                    f"no such {missing}", code="no-such-file", where=self.text, fix="check its name, and AWS_ENDPOINT_URL"
                )
        return bool(kind == fs.FileType.File)

    def files(self) -> list[File]:
        """The files below, or the one file itself: those of a folder before its sub-folders, each in order of their names.

        Hidden files, and those of hidden folders, are left out.
        """
        if self.is_file:
            with self._explained():
                info = self._filesystem().get_file_info(self.path)
            return [File(info.base_name, info.size, info.mtime_ns, False)]
        if not self.remote:
            return [self._local(name, link) for name, link in walk(Path(self.path))]
        with self._explained():
            infos = self._filesystem().get_file_info(fs.FileSelector(self.path, recursive=True))
        files = [File(info.path[len(self.path) + 1 :], info.size, info.mtime_ns, False) for info in infos if info.is_file]
        return sorted((file for file in files if "/." not in f"/{file.name}"), key=_walked)

    def holds(self, name: str) -> bool:
        """Whether a name stays inside: no `..`, no link that leads out."""
        return not leads_away(name) and (self.remote or inside(Path(self._folder).resolve(), name) is not None)

    @contextmanager
    def open(self, name: str) -> Iterator[pa.NativeFile]:
        """A file of this place, for reading here and there; nothing is read yet.

        Raises:
            FileNotFoundError: it is gone.
            OSError: it is no plain file, or one that this user may not read.
            UserError: it lies outside, or the server cannot be reached or refuses, now or while the file is read.
        """
        if not self.holds(name):
            raise UserError(
                "a link that leads out of the folder", code="bad-name", where=f"{self}/{name}", fix="copy the file instead"
            )
        path = f"{self._folder}/{name}"
        with self._explained():
            filesystem = self._filesystem()
            if not self.remote and filesystem.get_file_info(path).type in (fs.FileType.Unknown, fs.FileType.Directory):
                raise OSError(errno.EINVAL, "not a file")  # to open a pipe would wait for ever
            with filesystem.open_input_file(path) as file:
                yield file

    def require_bucket(self) -> None:
        """Raise UserError when the bucket is not there, or cannot be reached."""
        with self._explained():
            if self._filesystem().get_file_info(self.path.partition("/")[0]).type == fs.FileType.NotFound:
                raise UserError(
                    "no such bucket", code="storage-failed", where=self.text, fix="check its name, and AWS_ENDPOINT_URL"
                )

    def objects(self, name: str = "") -> list[File]:
        """The objects of a bucket below a name, hidden ones too, in no order; none where there is nothing.

        Raises:
            UserError: one has a name that no file of a folder has: a bucket may hold `../x`.
        """
        below = fs.FileSelector(f"{self.path}/{name}".rstrip("/"), allow_not_found=True, recursive=True)
        with self._explained():
            infos = self._filesystem().get_file_info(below)
        found = [File(info.path[len(self.path) + 1 :], info.size, info.mtime_ns, False) for info in infos if info.is_file]
        for file in found:
            if not plain(file.name):
                where = f"{self}/{printable(file.name)}"
                raise UserError(
                    "an object whose name is no path below this place", code="bad-name", where=where, fix="delete it"
                )
        return found

    def read(self, name: str) -> bytes | None:
        """A small object of a bucket; None where there is none."""

        def attempt() -> bytes | None:
            try:
                with self.stream(name) as file:
                    return bytes(file.read())
            except FileNotFoundError:
                return None

        return patiently(attempt)

    @contextmanager
    def stream(self, name: str) -> Iterator[pa.NativeFile]:
        """An object of a bucket, for reading from its beginning to its end.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._explained(), self._filesystem().open_input_stream(f"{self.path}/{name}") as file:
            yield file

    def write(self, name: str, data: bytes) -> None:
        """Put a small object into a bucket, whole or not at all."""

        def attempt() -> None:
            with self._explained(), self._filesystem().open_output_stream(f"{self.path}/{name}") as out:
                out.write(data)

        patiently(attempt)

    def upload(self, name: str, file: Path) -> None:
        """Put a file into a bucket; when it fails, part of the object may be there."""

        def attempt() -> None:
            with (
                self._explained(),
                self._filesystem().open_output_stream(f"{self.path}/{name}") as out,
                file.open("rb") as data,
            ):
                while part := data.read(_PART):
                    out.write(part)

        patiently(attempt)

    def delete(self, name: str) -> None:
        """Take an object out of a bucket; there already none: nothing."""
        path = f"{self.path}/{name}"
        with self._explained(), suppress(FileNotFoundError):
            filesystem = self._filesystem()
            try:
                filesystem.delete_file(path)
            except OSError as error:
                # pyarrow then puts an empty object for the folder, which a server with real folders may refuse while others
                # delete beside it. What counts is whether the object is gone.
                if "NO_SUCH_KEY" not in str(error) or filesystem.get_file_info(path).type != fs.FileType.NotFound:
                    raise

    @property
    def _folder(self) -> str:
        return self.path.rpartition("/")[0] if self.is_file else self.path

    def _local(self, name: str, link: bool) -> File:
        stat = Path(self.path, name).lstat()
        return File(name, stat.st_size, stat.st_mtime_ns, link)

    def _filesystem(self) -> fs.FileSystem:
        if not self.remote:
            return fs.LocalFileSystem()
        return s3_filesystem(self.path.partition("/")[0])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the server or the network says into one line; errors of files pass."""
        try:
            yield
        except OSError as error:
            known = explained(str(error)) if self.remote else None
            if known is None:
                raise
            raise (BusyError if known == BUSY else UserError)(
                known[0], code="storage-failed", where=self.text, fix=known[1]
            ) from None


def _walked(file: File) -> list[tuple[bool, str]]:
    """Sorts names as `walk` does."""
    *folders, last = file.name.split("/")
    return [*((True, folder) for folder in folders), (False, last)]
