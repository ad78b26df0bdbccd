"""Paths of what lies at `s3://`: each machine works in a folder of its own that mirrors it; see `pd.store.mirror`.

A bucket's folder is `MIRROR/bucket%2Fprefix`, so that a path tells by itself what it mirrors.
"""

import os
import re
from functools import lru_cache
from pathlib import Path, PosixPath
from urllib.parse import quote, unquote

from pd.errors import UserError

# Uploads as every server takes them. The SDK's newer form, a checksum at the end of a body sent in chunks, is refused by many
# (HTTP 411); what is fetched is compared with the SHA-256 of its commit in any case. Who needs the newer form (a bucket with
# Object Lock does) sets `when_supported`.
PLAIN_UPLOADS = {"AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required"}
HOME = "PD_MIRROR"  # another folder than the user's cache, such as a fast local disk; each machine may have its own
LONGEST = 250  # of a file's name
SCRATCH = ".fetched-"  # begins the names of folders beside the mirrors that are there for a while

_BUCKET = re.compile(r"[A-Za-z0-9._-]+")
_SECRET = re.compile(r"[?&](access_key|secret_key|session_token)=", re.IGNORECASE)


class MirrorPath(PosixPath):
    """A path in this machine's mirror. One that travels to another machine, pickled, arrives as that machine's own."""

    def __reduce__(self) -> "tuple[object, tuple[str]]":
        return unpacked, (packed(self),)


def mirror_home() -> Path:
    """The folder of all mirrors on this machine."""
    return _home(os.environ.get(HOME) or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "pd", "s3"))


def bucket_and_prefix(text: str) -> list[str]:
    """The parts of `s3://bucket/prefix`.

    Raises:
        UserError: another scheme, no bucket, or credentials in the URL (which is then not repeated).
    """
    scheme, _, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket or ":" in bucket or _SECRET.search(rest):
        fix = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY instead, and name s3://bucket/prefix"
        raise UserError("credentials do not belong in a URL", code="bad-address", fix=fix)
    if scheme != "s3":
        raise UserError(
            "neither a local path nor s3://", code="bad-address", where=text, fix="name a folder, or s3://bucket/prefix"
        )
    parts = [bucket, *(prefix.strip("/").split("/") if prefix.strip("/") else [])]
    if not _BUCKET.fullmatch(bucket) or {"", ".", ".."} & set(parts):
        raise UserError("no bucket and prefix", code="bad-address", where=text, fix="write s3://bucket/prefix")
    return parts


def check_slashes(text: str) -> None:
    """Raise UserError for `s3:/bucket`, which would be a folder on this disk."""
    if text.startswith("s3:/") and not text.startswith("s3://"):
        whole = "s3://" + "/".join(bucket_and_prefix(f"s3://{text.removeprefix('s3:/')}"))
        raise UserError("a slash is missing", code="bad-address", where=text, fix=f"write {whole}")


def require_disk(option: str, path: Path | None) -> None:
    """Raise UserError for an option's path that somebody typed as `s3://`, of which Typer leaves one slash."""
    if path is not None and path.parts[:1] == ("s3:",):
        raise UserError(
            "this cannot lie in a bucket",
            code="bad-address",
            where=option,
            fix="name a path on a disk; docs/storage.md says what can",
        )


def mirrored(text: str) -> MirrorPath:
    """Where this machine mirrors `s3://bucket/prefix`; raises UserError as `bucket_and_prefix` does."""
    name = quote("/".join(bucket_and_prefix(text)), safe="")
    if len(name) > LONGEST:
        raise UserError("too long a prefix", code="bad-address", where=text, fix=f"stay below {LONGEST} characters")
    return MirrorPath(mirror_home(), name)


def mirrored_run(path: Path, below: int = 0) -> Path:
    """A run folder, or what lies so many steps below one, as somebody typed it: at `s3://` its mirror, else the same path.

    Typer hands over paths, in which one slash is left of the two.
    """
    scheme, _, rest = str(path).partition(":/")
    if scheme != "s3":
        return path
    parts = bucket_and_prefix(f"s3://{rest.lstrip('/')}")
    cut = len(parts) - below - 1
    if cut < 1:
        raise UserError(
            "no run in this place", code="no-run", where=f"s3://{'/'.join(parts)}", fix="name s3://bucket/prefix/run"
        )
    return mirrored("s3://" + "/".join(parts[:cut])).joinpath(*parts[cut:])


def is_mirrored(path: Path) -> bool:
    """Whether a path is in this machine's mirror."""
    return path.is_relative_to(mirror_home())


def on_disk(path: Path) -> Path:
    """The same path.

    Raises:
        ValueError: it is one of a bucket.
    """
    if is_mirrored(path):
        raise ValueError("it is read from a disk: copy it there")
    return path


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path lies in a folder that is there, or in what a bucket has below a prefix."""
    if is_mirrored(folder):
        return f"{as_written(path)}/".startswith(f"{as_written(folder)}/")
    return folder.is_dir() and path.resolve().is_relative_to(folder.resolve())


def packed(path: Path) -> str:
    """A path as text that means the same on every machine: one in the mirror by what it mirrors, others as they are."""
    return f"s3:{path.relative_to(mirror_home()).as_posix()}" if is_mirrored(path) else str(path)


def unpacked(text: str) -> Path:
    """The path on this machine of what `packed` made into text."""
    return MirrorPath(mirror_home(), text.removeprefix("s3:")) if text.startswith("s3:") else Path(text)


def as_written(path: Path) -> str:
    """A path as people know it: `s3://bucket/prefix` for one in the mirror."""
    return in_words(str(path))


def in_words(text: str) -> str:
    """A text with paths in the mirror as people know them."""
    home = str(mirror_home())
    if home not in text:
        return text
    folder = f"{re.escape(home)}/(?:{re.escape(SCRATCH)}[^/]+/)?([^/\\s]+)"
    return re.sub(folder, lambda found: f"s3://{unquote(found[1])}", text)


@lru_cache(maxsize=8)
def _home(text: str) -> Path:
    return Path(text).expanduser().resolve()
