"""A copy of a release is whole, and its maker's; or what is wrong with it is named."""

import shutil
import subprocess

import pytest
from refusals import refused_as

from pd.release.sums import SIGNATURE, SIGNED, SUMS, WHOLE, check_sums, sign, write_sums

keyed = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")


def key(folder, name, passphrase=""):
    words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", "anna@home", "-f", str(folder / name)]
    subprocess.run(words, check=True)
    return folder / name


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / "release"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "part-00000.parquet").write_bytes(b"PAR1")
    (folder / "README.md").write_text("# a release\n")
    return folder


def failed(release, signer=None):
    return {check.name: check.detail for check in check_sums(release, signer) if check.ok is False}


def test_sha256sum_reads_it(release):
    write_sums(release)
    assert subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=release, check=False).returncode == 0
    assert not failed(release)
    assert not (release / SIGNATURE).exists()


CHANGES = {
    "README.md was changed": lambda release: (release / "README.md").write_text("# another\n"),
    "data/x.txt is not listed": lambda release: (release / "data" / "x.txt").touch(),
    "README.md is missing": lambda release: (release / "README.md").unlink(),
    "SHA256SUMS is not as sha256sum writes it": lambda release: (release / SUMS).write_text("x\n"),
}


@pytest.mark.parametrize("said", CHANGES)
def test_what_was_changed_since_is_named(release, said):
    write_sums(release)
    CHANGES[said](release)
    assert said in failed(release)[WHOLE]


def test_a_release_from_before_there_were_sums_is_not_called_checked(release):
    assert [(check.name, check.ok) for check in check_sums(release)] == [(WHOLE, None), (SIGNED, True)]
    assert SIGNED in failed(release, release / "README.md")


@keyed
def test_a_signature_is_of_these_sums_and_of_this_key(release, tmp_path):
    own, other = key(tmp_path, "own"), key(tmp_path, "other")
    write_sums(release, own)
    assert not failed(release)
    assert not failed(release, own.with_suffix(".pub"))
    assert SIGNED in failed(release, other.with_suffix(".pub"))
    assert b"anna" not in (release / SIGNATURE).read_bytes()
    (release / "README.md").write_text("# another\n")
    sums = (release / SUMS).read_text()
    signature = (release / SIGNATURE).read_bytes()
    write_sums(release)
    assert (release / SUMS).read_text() != sums
    (release / SIGNATURE).write_bytes(signature)
    assert SIGNED in failed(release)
    write_sums(release, own)
    assert not failed(release, own.with_suffix(".pub"))


@keyed
def test_a_key_that_would_ask_for_something_is_refused(tmp_path):
    with refused_as("bad-key", "release.signing_key"):
        sign(b"x", key(tmp_path, "locked", "a passphrase"))
    with refused_as("no-such-file", "release.signing_key"):
        sign(b"x", tmp_path / "none")
