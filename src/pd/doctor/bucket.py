"""A bucket: written, read, listed, deleted, and its clock beside this machine's."""

import contextlib
import time
import uuid
from collections.abc import Iterator

from pd.doctor.finding import Finding, ok, todo
from pd.errors import UserError
from pd.store.places import Place

FOLDER = ".doctor"
SKEW_S = 300.0  # ours: S3 itself refuses requests whose time is 15 minutes off (RequestTimeTooSkewed)


@contextlib.contextmanager
def signed(place: str) -> Iterator[tuple[str, str]]:
    """Put a small object there for as long as the context lasts; yields the place and the object's name below.

    Raises:
        UserError: it cannot be written.
    """
    name = f"{FOLDER}/{uuid.uuid4().hex}"
    there = Place.parse(place)
    there.require_bucket()
    there.write(name, name.encode())
    try:
        yield place, name
    finally:
        with contextlib.suppress(UserError, OSError):
            there.delete(name)


def bucket(place: str) -> list[Finding]:
    """Whether a place takes runs: an object is written, read, listed with its time, and deleted.

    Args:
        place: `s3://bucket/prefix`.

    Raises:
        UserError: the server cannot be reached, or refuses one of these.
    """
    there = Place.parse(place)
    with signed(place) as (_, name):
        if there.read(name) != name.encode():
            return [todo("bucket", f"{place}: what was just written cannot be read", _ANOTHER)]
        written = time.time()
        listed = [file for file in there.objects(FOLDER) if name.endswith(file.name) or file.name == name]
        if not listed:
            return [todo("bucket", f"{place}: a listing does not show what was just written", _ANOTHER)]
    if there.read(name) is not None:
        return [todo("bucket", f"{place}: what was deleted is still there", "allow s3:DeleteObject for what lies there")]
    found = [ok("bucket", f"{place} is written, read, listed and deleted from")]
    apart = written - listed[0].changed / 1e9
    if abs(apart) > SKEW_S:
        return [*found, todo("clock of the bucket", f"this machine's is {apart:+.0f} s beside it", "set the clock (NTP)")]
    return [*found, ok("clock of the bucket", f"within {SKEW_S:.0f} s of this machine's")]


_ANOTHER = "pd needs a server that shows at once what was written, as S3 does"
