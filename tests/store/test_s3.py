"""What S3's errors mean, in words; its own may quote a key."""

import pytest

from pd.store.s3 import explained

SAYS = "When reading information for key 'a' in bucket 'b': AWS Error {} during HeadObject operation: no words"


@pytest.mark.parametrize(
    ("error", "what", "fix"),
    [
        ("UNKNOWN (HTTP status 503)", "the server is busy, or fails", "run the same command again"),
        ("INTERNAL_FAILURE (HTTP status 500)", "the server is busy, or fails", "run the same command again"),
        ("INTERNAL_FAILURE", "the server is busy, or fails", "run the same command again"),
        ("SLOW_DOWN (HTTP status 503)", "the server is busy, or fails", "run the same command again"),
        ("UNKNOWN (HTTP status 429)", "the server is busy, or fails", "run the same command again"),
        ("NETWORK_CONNECTION", "the server cannot be reached", "check the network"),
        ("ACCESS_DENIED (HTTP status 403)", "no permission", "AWS_ACCESS_KEY_ID"),
        ("UNKNOWN (HTTP status 301)", "cannot be used (UNKNOWN, HTTP 301)", "AWS_REGION"),
    ],
)
def test_each_is_told_with_what_to_do(error: str, what: str, fix: str) -> None:
    found = explained(SAYS.format(error))
    assert found is not None
    assert found[0] == what
    assert fix in found[1]


def test_others_are_not_s3s() -> None:
    assert explained("[Errno 28] No space left on device") is None
