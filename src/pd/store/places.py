"""Where files lie: a folder or file of this machine, or of an S3 bucket. What differs between the two is known here alone."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import fs

from pd.errors import UserError
from pd.store.paths import inside, leads_away, walk

_CONNECT, _SILENCE = 5, 10  # seconds until a server counts as not there; pyarrow tries three times

_BUCKET = re.compile(r"[A-Za-z0-9._-]+")
_SECRET = re.compile(r"[?&](access_key|secret_key|session_token)=", re.IGNORECASE)
_AWS_ERROR = re.compile(r"AWS Error ([A-Z_]+)(?: \(HTTP status (\d+)\))?")
_NO_BUCKET = re.compile(r"Bucket '.*' not found")  # so says resolve_s3_region
_DENIED = re.compile(r"DENIED|ACCESS_KEY|SIGNATURE|TOKEN|CLIENT|CREDENTIAL")
_AWAY = re.compile(r"NETWORK|TIMEOUT|UNAVAILABLE|SLOW_DOWN|THROTTL")


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
            UserError: another scheme, no bucket, or credentials in the URL (which is then not repeated).
        """
        scheme, found, rest = text.partition("://")
        if not found:
            return cls(text, str(Path(text).absolute()), False)
        bucket, _, prefix = rest.partition("/")
        if "@" in bucket or ":" in bucket or _SECRET.search(rest):
            fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead, and name s3://bucket/prefix"
            raise UserError("credentials do not belong in a URL", fix=fix)
        if scheme != "s3":
            raise UserError("neither a local path nor s3://", where=text, fix="name a folder, or s3://bucket/prefix")
        parts = prefix.strip("/").split("/") if prefix.strip("/") else []
        if not _BUCKET.fullmatch(bucket) or {"", ".", ".."} & {bucket, *parts}:
            raise UserError("no bucket and prefix", where=text, fix="write s3://bucket/prefix")
        return cls(text.rstrip("/"), "/".join([bucket, *parts]), True)

    def __str__(self) -> str:
        return self.text

    @cached_property
    def is_file(self) -> bool:
        """Whether this is one file, and no folder. Asked once: who gets the pickled place needs no answer of its own.

        Raises:
            UserError: there is nothing, no permission, or no way to the server.
        """
        if not self.remote and not Path(self.path).exists():
            raise UserError("no such folder", where=self.text, fix="check the path")
        with self._explained():
            filesystem = self._filesystem()
            kind = filesystem.get_file_info(self.path).type
            if kind == fs.FileType.NotFound:
                bucket = self.path.partition("/")[0]
                missing = "object or prefix" if filesystem.get_file_info(bucket).type != kind else "bucket"
                raise UserError(f"no such {missing}", where=self.text, fix="check its name, and AWS_ENDPOINT_URL")
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
            raise UserError("a link that leads out of the folder", where=f"{self}/{name}", fix="copy the file instead")
        path = f"{self._folder}/{name}"
        with self._explained():
            filesystem = self._filesystem()
            if not self.remote and filesystem.get_file_info(path).type in (fs.FileType.Unknown, fs.FileType.Directory):
                raise OSError(errno.EINVAL, "not a file")  # to open a pipe would wait for ever
            with filesystem.open_input_file(path) as file:
                yield file

    @property
    def _folder(self) -> str:
        return self.path.rpartition("/")[0] if self.is_file else self.path

    def _local(self, name: str, link: bool) -> File:
        stat = Path(self.path, name).lstat()
        return File(name, stat.st_size, stat.st_mtime_ns, link)

    def _filesystem(self) -> fs.FileSystem:
        if not self.remote:
            return fs.LocalFileSystem()
        # pyarrow does not look at these by itself (apache/arrow#49643)
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        return _s3(self.path.partition("/")[0], endpoint)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what the server or the network says into one line; errors of files pass."""
        try:
            yield
        except OSError as error:
            known = _explain(str(error)) if self.remote else None
            if known is None:
                raise
            raise UserError(known[0], where=self.text, fix=known[1]) from None


@lru_cache(maxsize=8)
def _s3(bucket: str, endpoint: str) -> fs.FileSystem:
    region = None if endpoint else fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        region=region, endpoint_override=endpoint or None, connect_timeout=_CONNECT, request_timeout=_SILENCE
    )


def _explain(text: str) -> tuple[str, str] | None:
    """What S3 found wrong and how to mend it; its own words may quote a key, and stay out. None: it was not S3."""
    if "NO_SUCH_BUCKET" in text or _NO_BUCKET.match(text):
        return "no such bucket", "check its name, and AWS_ENDPOINT_URL"
    found = _AWS_ERROR.search(text)
    if not found:
        return None
    code, status = found.groups()
    if _DENIED.search(code) or status in ("401", "403"):
        return "no permission", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or the instance's role"
    if _AWAY.search(code):
        return "the server cannot be reached", "check the network and AWS_ENDPOINT_URL"
    kind = f"{code}, HTTP {status}" if status else code
    return f"cannot be read ({kind})", "check AWS_ENDPOINT_URL, AWS_REGION and the credentials"


def _walked(file: File) -> list[tuple[bool, str]]:
    """Sorts names as `walk` does."""
    *folders, last = file.name.split("/")
    return [*((True, folder) for folder in folders), (False, last)]
