"""Push: a release that is proven clean to the hub, after asking."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pd.errors import LeakError, UserError
from pd.release.files import entries
from pd.release.sums import SIGNED
from pd.stages.verify import check_release

Kind = Literal["model", "dataset"]


def push_release(
    release: Path, to: str, kind: Kind, against: Path | None, k: int | None, *, private: bool, agree: Callable[[str], bool]
) -> str | None:
    """Upload a release as it was proven.

    Args:
        release: the folder.
        to: owner/name on the hub.
        kind: of the repository there.
        against: the run, or its `private/dataset`; None: the run that the release lies in.
        k: member identities that must share a caption; None: as the run says.
        private: whether the repository is, if it is made.
        agree: asks, and says whether to go on.

    Returns:
        The address of the commit; None where the answer was no.

    Raises:
        LeakError: the release is not clean.
        UserError: the release cannot be proven here, no such name, or the hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if to.count("/") != 1:
        raise UserError(f"'{to}' is no owner and name", code="bad-value", where="--to", fix="write owner/name")
    beside = release.resolve().parent
    if against is None and (beside / "private" / "dataset").is_dir():
        against = beside
    if against is None:
        fix = "add --against RUN: a release is compared with the real images before it leaves"
        raise UserError("this release cannot be proven clean here", code="not-clean", where=str(release), fix=fix)
    with tempfile.TemporaryDirectory(prefix="pd-push-") as aside:
        # What is proven is what is sent, whatever happens to the folder in between.
        copy = Path(aside, "release")
        shutil.copytree(release, copy, symlinks=True)
        found = check_release(copy, against, k)
        if not found.ok:
            raise LeakError(
                f"the release is not clean: {found.failed[0].name}", code="not-clean", where=str(release), fix="do not share it"
            )
        skipped = [check for check in found.skipped if check.name != SIGNED]  # a signature is not asked for
        if skipped:
            what = f"{len(skipped)} checks could not be made: {skipped[0].name}"
            raise UserError(
                what, code="not-clean", where=str(release), fix="name the whole run with --against, and install what is missing"
            )
        files = entries(copy)
        size = sum(path.stat().st_size for path in files) / 1e6
        where = os.environ.get("HF_ENDPOINT", "the Hugging Face hub")
        if not agree(f"Send {len(files)} files, {size:.1f} MB, to {kind} {to} on {where}? It cannot be called back."):
            return None
        try:
            api = HfApi()
            api.create_repo(to, repo_type=kind, private=private, exist_ok=True)
            done = api.upload_folder(repo_id=to, repo_type=kind, folder_path=copy, commit_message="Release")
        except HFValidationError:
            raise UserError(f"'{to}' is no owner and name", code="bad-value", where="--to", fix="write owner/name") from None
        except (HfHubHTTPError, OSError, ValueError) as error:
            what = f"the hub did not take it ({type(error).__name__})"
            raise UserError(
                what, code="hub-failed", where=f"{kind} {to}", fix="check the network, HF_TOKEN and the name, then send again"
            ) from None
        return str(done.commit_url)
