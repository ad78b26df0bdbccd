"""Verify: prove that the release is clean; the run fails if it is not."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml
from rich.table import Table

from pd.config import Settings
from pd.config.mirrored import mirrored_run
from pd.dataset.images import Pixels
from pd.dataset.private import PrivateDataset
from pd.dataset.real import with_labels
from pd.errors import LeakError, UserError
from pd.progress import shown
from pd.release.classifier import check_classifier
from pd.release.files import check_part, of_guarantees
from pd.release.formal import check_formal_folder
from pd.release.sums import check_sums
from pd.release.verify import Check, VerifyReport, bundled_digests, verify
from pd.stages.base import Facts
from pd.stages.bucket import fetch_proof, fetch_release
from pd.stages.release import words_of
from pd.stages.spending import check_spent
from pd.store.context import Context
from pd.store.run import Run

_K = 3  # `generate.prompt_k` by default


def check_release(release: Path, against: Path | None, k: int | None = None, signer: Path | None = None) -> VerifyReport:
    """Check a release folder.

    Args:
        release: the folder, here or in a run at `s3://`; or that of a classifier or a formal model alone, which is
            compared with no image.
        against: a run, or its `private/dataset`. When the network, the thresholds and the teacher of the run are there,
            images are scored as the filter scored them, and weights are compared with the teacher's. Claims of an epsilon are
            compared with what the run spent.
        k: member identities that must share a caption; None: as the run says, else 3.
        signer: the SSH public key that must have signed the release; None: it need not be signed.

    Raises:
        UserError: there is no such folder or key, or no private data set in `against`.
    """
    fetch_release(release)
    if not release.is_dir():
        raise UserError(
            "no such folder", code="no-such-folder", where=str(release), fix="name a release folder, such as runs/faces/release"
        )
    if signer is not None and not signer.is_file():
        raise UserError("no such key", code="no-such-file", where=str(signer), fix="name an SSH public key, such as key.pub")
    if (release / "claim.json").is_file():
        checks = _check_alone(release)
        if signer is not None:  # who signs, signs a whole release
            checks += check_sums(release, signer)
        if against is not None:
            checks += check_spent(_run_of(mirrored_run(against, below=_below(against))), release)
        return VerifyReport(checks)
    if not of_guarantees(release) and not any((release / name).exists() for name in ("model", "data", "audit.json")):
        raise UserError(
            "no release in this folder",
            code="no-release",
            where=str(release),
            fix="name a release folder, such as runs/faces/release, or the folder `formal` or `classifier` in one",
        )
    if against is None:
        return verify(release, k=k or _K, signer=signer)
    against = mirrored_run(against, below=_below(against))
    run = _run_of(against)
    if (against / "private" / "dataset").is_dir():
        against = against / "private" / "dataset"
    private = against.parent
    held = _settings_in(private)
    said, k = _said(held), k or _k(held)
    counts, teacher = private / "filter.json", private / "teacher"
    if not ((private / "reid" / "config.json").exists() and counts.exists()):
        found = verify(release, against, k=k, said=said, signer=signer, read=_real)
        return VerifyReport([*found.checks, *check_spent(run, release)])
    from pd.filters.decide import Thresholds, margin
    from pd.filters.scorer import Scorer

    scorer = Scorer(private / "reid", private / "reid")
    filtered = json.loads(counts.read_text(encoding="utf-8"))
    thresholds = Thresholds.from_json(filtered["thresholds"])

    def above(images: Pixels) -> npt.NDArray[np.float32]:
        scores = scorer.score(images)
        return margin(scores.score, scores.further, thresholds, filtered["vote"])

    found = verify(
        release,
        against,
        margin=above if filtered["reid"] else None,
        k=k,
        teacher=teacher if teacher.is_dir() else None,
        said=said,
        signer=signer,
        read=_real,
    )
    return VerifyReport([*found.checks, *check_spent(run, release)])


def _below(against: Path) -> int:
    return 2 if against.parts[-2:] == ("private", "dataset") else 0


def _run_of(against: Path) -> Run:
    """The run that a path names, or whose data set it names; what proves its release is fetched."""
    run = Run(against.parents[1] if _below(against) else against)
    fetch_proof(run)
    if not run.private.is_dir():
        raise UserError("no run in this folder", code="no-run", where=str(against), fix="name a run, such as runs/faces")
    return run


def _check_alone(folder: Path) -> list[Check]:
    """The checks of a classifier's or a formal model's folder by itself."""
    if (folder / "config.json").is_file():
        return [*check_part(folder, "classifier"), *check_classifier(folder)]
    vae = folder / "model" / "vae"
    return [*check_part(folder, "formal"), *check_formal_folder(folder, bundled_digests(vae) if vae.is_dir() else ())]


def _real(dataset: Path) -> PrivateDataset:
    """The private images with the labels that the run's own settings ask for; the data's own where these cannot be read."""
    real = PrivateDataset.open(dataset)
    try:
        held = _settings_in(dataset.parent)
        data = {key: held["data"][key] for key in ("uncertain", "unmentioned") if key in held["data"]}
        settings = Settings.model_validate({"data": data, "labels": held.get("labels")})
    except (ValueError, TypeError, KeyError, AttributeError):
        return real
    return with_labels(real, Run(dataset.parents[1]), settings)


def _settings_in(private: Path) -> Any:
    """What a run's own settings hold; nothing where they cannot be read."""
    try:
        return yaml.safe_load((private / "settings.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _said(held: Any) -> tuple[str, ...]:
    """What a run's own settings say of any image; nothing where they cannot be read."""
    try:
        data = held["data"]
        return (str(data["subject"] if data["caption"] == "report" else data["caption"]),)
    except (ValueError, TypeError, KeyError):
        return ()


def _k(held: Any) -> int:
    """How many members must share a prompt by a run's own settings."""
    try:
        return int(held["generate"]["prompt_k"])
    except (ValueError, TypeError, KeyError):
        return _K


def checks_table(checks: Sequence[Check]) -> Table:
    """The checks for a terminal."""
    table = Table(title="pd verify")
    for heading in ("", "check", "found"):
        table.add_column(heading)
    marks = {True: "[green]ok[/]", False: "[bold red]LEAK[/]", None: "[yellow]not checked[/]"}
    for check in checks:
        table.add_row(marks[check.ok], shown(check.name), shown(check.detail))
    return table


def execute(context: Context) -> Facts:
    run = context.run
    report = check_release(run.release, run.dataset, context.settings.generate.prompt_k)
    if not report.ok:
        first = report.failed[0]
        raise LeakError(
            f"the release is not clean: {first.name}: {first.detail}",
            code="not-clean",
            where=str(run.release),
            fix="do not share it; `pd verify` lists every check",
        )
    decision = json.loads(run.decision.read_text(encoding="utf-8"))
    if not decision["released"]:
        raise LeakError(
            "nothing is released: " + "; ".join(words_of(decision["withheld"], {})),
            code="not-clean",
            where=str(run.release),
            fix="see private/report.html; make the filter stricter, or set release.accept_leak: true and say so",
        )
    return {"checks": len(report.checks), "not_checked": len(report.skipped)}
