"""What is peculiar to S3: how to reach it, and what its errors mean."""

import os
import re
from functools import lru_cache

from pyarrow import fs

from pd.config.mirrored import PLAIN_UPLOADS

_CONNECT, _SILENCE = 5, 10  # seconds until a server counts as not there
# At a request; the wait between them doubles, from about half a second. pyarrow's own three are few for a busy server.
_ATTEMPTS = 5

_AWS_ERROR = re.compile(r"AWS Error ([A-Z_]+)(?: \(HTTP status (\d+)\))?")
_NO_BUCKET = re.compile(r"Bucket '.*' not found")  # so says resolve_s3_region
_DENIED = re.compile(r"DENIED|ACCESS_KEY|SIGNATURE|TOKEN|CLIENT|CREDENTIAL")
_CLOCK = re.compile(r"REQUEST_TIME_TOO_SKEWED|RequestTimeTooSkewed|REQUEST_EXPIRED|RequestExpired")
# The last two: of an upload in parts, where a part was lost, or where the answer to its end was (pyarrow then ends it twice).
_BUSY = re.compile(r"SLOW_DOWN|THROTTL|UNAVAILABLE|INTERNAL|NO_SUCH_UPLOAD|INVALID_PART|InvalidPart|NoSuchUpload")
BUSY = ("the server is busy, or fails", "run the same command again: what was finished is kept")
_AWAY = re.compile(r"NETWORK|TIMEOUT")


def s3_filesystem(bucket: str) -> fs.FileSystem:
    """The server that holds a bucket. It can be pickled, and holds no credentials: whoever uses it needs their own."""
    # pyarrow does not look at these by itself (apache/arrow#49643)
    return _open(bucket, os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "")


@lru_cache(maxsize=8)
def _open(bucket: str, endpoint: str) -> fs.FileSystem:
    for key, value in PLAIN_UPLOADS.items():
        os.environ.setdefault(key, value)
    region = None if endpoint else fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        region=region,
        endpoint_override=endpoint or None,
        connect_timeout=_CONNECT,
        request_timeout=_SILENCE,
        allow_delayed_open=True,  # what is small goes in one request instead of three, and is whole or not there
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )


def explained(text: str) -> tuple[str, str] | None:
    """What S3 found wrong and how to mend it; its own words may quote a key, and stay out. None: it was not S3."""
    if "NO_SUCH_BUCKET" in text or _NO_BUCKET.match(text):
        return "no such bucket", "check its name, and AWS_ENDPOINT_URL"
    found = _AWS_ERROR.search(text)
    if not found:
        return None
    code, status = found.groups()
    if _CLOCK.search(text):
        return "this machine's clock and the server's are apart", "set the clock (NTP), and run the same command again"
    if status == "411" or "MissingContentLength" in text:
        fix = "; ".join(f"set {key}={value}" for key, value in PLAIN_UPLOADS.items())
        return "the server takes no uploads with trailing checksums (HTTP 411)", fix
    if _DENIED.search(code) or status in ("401", "403"):
        return "no permission", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or the instance's role"
    if _BUSY.search(text) or (status or "").startswith("5") or status == "429" or "SlowDown" in text:
        return BUSY
    if _AWAY.search(code):
        return "the server cannot be reached", "check the network and AWS_ENDPOINT_URL"
    kind = f"{code}, HTTP {status}" if status else code
    return f"cannot be used ({kind})", "check AWS_ENDPOINT_URL, AWS_REGION and the credentials"
