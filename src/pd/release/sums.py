"""The digests of a release's files, and their signature: whoever gets a copy can tell that it is whole, and whose it is.

`SHA256SUMS` is what `sha256sum` reads; its signature, `SHA256SUMS.sig`, what `ssh-keygen -Y` makes and checks, under the
namespace `pd-release`.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from pd.errors import UserError
from pd.release.checks import Check, judge
from pd.release.files import entries
from pd.store.atomic import write_bytes
from pd.store.files import digest_file

SUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
NAMESPACE = "pd-release"
WHOLE, SIGNED = "every file is as SHA256SUMS says", "SHA256SUMS is signed"
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")
_LONGEST = 16 << 10  # of a signature, bytes
_WHO = "release"  # whom the file of allowed signers, made for one check, names
_SECONDS = 20  # that ssh-keygen may take, should it wait for an agent or a token


def write_sums(release: Path, key: Path | None = None) -> None:
    """Write `SHA256SUMS` over all files of a release, and sign it where there is a key.

    Args:
        release: the release folder, complete.
        key: an SSH private key without a passphrase, or whose agent runs.

    Raises:
        UserError: the key cannot sign.
    """
    (release / SIGNATURE).unlink(missing_ok=True)
    lines = "".join(f"{digest}  {name}\n" for name, digest in _digests(release).items())
    write_bytes(release / SUMS, lines.encode())
    if key is not None:
        write_bytes(release / SIGNATURE, sign(lines.encode(), key))


def sign(data: bytes, key: Path) -> bytes:
    """The signature of some bytes, as `ssh-keygen -Y sign` writes it.

    Raises:
        UserError: there is no ssh-keygen, no such key, or one that does not sign without being asked for a passphrase.
    """
    where = "release.signing_key"
    if shutil.which("ssh-keygen") is None:
        raise UserError(
            "a release cannot be signed without ssh-keygen",
            code="missing-package",
            where=where,
            fix="install OpenSSH, or name no key",
        )
    if not key.expanduser().is_file():
        raise UserError(f"no such key: {key}", code="no-such-file", where=where, fix="make one: ssh-keygen -t ed25519 -f KEY")
    done = _keygen("sign", "-f", str(key.expanduser()), "-n", NAMESPACE, stdin=data)
    if done is None or done.returncode or not done.stdout.startswith(b"-----BEGIN SSH SIGNATURE-----"):
        fix = "name a private key without a passphrase, or add it to ssh-agent"
        raise UserError(f"this key does not sign: {key}", code="bad-key", where=where, fix=fix)
    return done.stdout


def check_sums(release: Path, signer: Path | None = None) -> list[Check]:
    """Whether each file is the one that was released, and whether its maker says so.

    Args:
        release: the release folder.
        signer: the SSH public key whose signature must be there; None: any signature that is there must be sound.
    """
    told = _read(release / SUMS)
    if told is None:
        why = "not checked: the release has no SHA256SUMS, as those made before there were any"
        return [Check(WHOLE, None, why), _signature(release, signer)]
    if not told or "" in told:
        return [Check(WHOLE, False, "SHA256SUMS is not as sha256sum writes it"), _signature(release, signer)]
    there = _digests(release)
    faults = [f"{name} is not listed" for name in there if name not in told]
    faults += [f"{name} is missing" for name in told if name not in there]
    faults += [f"{name} was changed" for name in told if name in there and there[name] != told[name]]
    return [judge(WHOLE, faults, f"{len(told):,} files"), _signature(release, signer)]


def _signature(release: Path, signer: Path | None) -> Check:
    file, sums = release / SIGNATURE, release / SUMS
    if not file.is_file() or file.is_symlink():
        if signer is not None:
            return Check(SIGNED, False, "there is no signature")
        return Check(SIGNED, True, "not signed, and nobody asked for it")
    if shutil.which("ssh-keygen") is None:
        return Check(SIGNED, False if signer else None, "not checked: there is no ssh-keygen here")
    if file.stat().st_size > _LONGEST or not sums.is_file():
        return Check(SIGNED, False, "the signature is not of SHA256SUMS")
    data = sums.read_bytes()
    if signer is None:
        done = _keygen("check-novalidate", "-n", NAMESPACE, "-s", str(file), stdin=data)
        said = "sound; whose it is was not asked (--signer KEY.pub)"
    else:
        with tempfile.TemporaryDirectory() as folder:
            allowed = Path(folder, "allowed_signers")
            allowed.write_text(f"{_WHO} {signer.read_text(encoding='utf-8').strip()}\n", encoding="utf-8")
            how = ("-f", str(allowed), "-I", _WHO, "-n", NAMESPACE, "-s", str(file))
            done = _keygen("verify", *how, stdin=data)
        said = "by the key that was named"
    if done is None or done.returncode:
        return Check(SIGNED, False, "the signature is not sound, or another's")
    return Check(SIGNED, True, said)


def _keygen(*words: str, stdin: bytes) -> "subprocess.CompletedProcess[bytes] | None":
    """`ssh-keygen -Y`, which must ask nobody anything; None where it takes too long."""
    try:
        return subprocess.run(
            ["ssh-keygen", "-Y", *words],
            input=stdin,
            capture_output=True,
            timeout=_SECONDS,
            start_new_session=True,  # no terminal to ask for a passphrase at
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None


def _digests(release: Path) -> dict[str, str]:
    """Name -> SHA-256 of each file but the sums and their signature, in the order of names."""
    files = {path.relative_to(release).as_posix(): path for path in entries(release)}
    return {
        name: digest_file(path)
        for name, path in files.items()
        if name not in (SUMS, SIGNATURE) and path.is_file() and not path.is_symlink()
    }


def _read(path: Path) -> dict[str, str] | None:
    """Name -> SHA-256 as listed; None without a file; a line that is none goes by the name ''."""
    if not path.is_file() or path.is_symlink():
        return None
    found = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        whole = _LINE.fullmatch(line)
        found[whole[2] if whole else ""] = whole[1] if whole else ""
    return found
