"""Report: the custodian's page, with real faces in it, and the release's card."""

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pd.audit.results import AuditResult, Fingerprints, load
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset
from pd.filters.calibration import read_measurements
from pd.filters.report_phrases import report_prompts
from pd.release.sums import write_sums
from pd.report.card import write_card
from pd.report.data import Candidates, Counts, ReportData, dangerous
from pd.report.html import SHOWN_DANGERS, SHOWN_PEOPLE, SHOWN_SAMPLES, render_release_report, render_report
from pd.report.public import public_audit
from pd.report.risk import at_risk
from pd.stages.base import Facts
from pd.stages.graph import BY_NAME
from pd.store.context import Context
from pd.store.lineage import Record, read_record
from pd.store.run import Run

_NAMES = pacsv.ConvertOptions(column_types={"name": pa.string()})  # 001 is a name, not a number


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    decision = json.loads(run.decision.read_text(encoding="utf-8"))
    kept = SyntheticDataset.open(run.student_data if settings.release.data == "student" else run.kept)
    data = _report_data(context, run)
    public = public_audit(data.audit, settings.unpublished_arms)
    write_card(
        run.card,
        public,
        name=settings.name,
        kept=len(kept),
        size=settings.data.size,
        mode=settings.data.mode,
        prompts=sorted(set(kept.prompts)),
        prompt_k=settings.generate.prompt_k,
        sampler_steps=settings.generate.sampler_steps,
        guidance=settings.generate.guidance,
        base=settings.student.base,
        released=decision["released"],
        withheld=decision["withheld"],
        accepted=decision["accepted"],
        from_student=settings.release.data == "student",
        labels=settings.labels.method if settings.labels else None,
        factor=settings.condense.factor if settings.condense else 1,
    )
    render_release_report(settings.name, public, data.settings, run.release_report, data.created)
    render_report(data, run.report)
    write_sums(run.release, settings.release.signing_key)
    return {}


def _report_data(context: Context, run: Run) -> ReportData:
    settings = context.settings
    records = {stage: record for stage in BY_NAME["report"].needs if (record := read_record(run.record(stage)))}
    real = PrivateDataset.read_words(run.dataset)
    measured = read_measurements(run.reid)
    counts = json.loads(run.filter_counts.read_text(encoding="utf-8"))
    audit = _audit(run)
    closest = audit.arms["kept"].closest if "kept" in audit.arms else None
    candidates = _candidates(run, closest.candidates if closest else set())
    identity_of = dict(zip(real.ids, real.identities, strict=True))
    shown = {candidates.nearest[i] for rows in dangerous(candidates.scores, candidates.keep, SHOWN_DANGERS) for i in rows}
    shown |= {one.image for one in at_risk(candidates, identity_of, counts["threshold"])[:SHOWN_PEOPLE]}
    shown |= closest.real if closest else set()
    labels = _labels(run) if settings.labels else None
    for gallery in ("gallery", "unsure", "confused"):
        shown |= {one["id"] for one in labels.get(gallery, ())} if labels else set()
    members, strangers = real.members(), real.holdout()
    return ReportData(
        run=settings.name,
        created=time.strftime("Written on %Y-%m-%d."),
        counts=Counts(
            member_identities=len(set(members.identities)),
            holdout_identities=len(set(strangers.identities)),
            member_images=len(members),
            holdout_images=len(strangers),
            bad_images=sum(records["ingest"].facts["bad"].values()),
        ),
        settings=settings,
        audit=audit,
        candidates=candidates,
        threshold=counts["threshold"],
        real=_images(run.dataset.glob("*.parquet"), shown),
        samples={arm: [row["bytes"] for row in _head(run.samples(arm).glob("*.parquet"))] for arm in settings.audited_arms},
        stranger_scores=measured.score,
        member_scores=measured.member_score,
        verification={
            name: value
            for name, value in (("auc", measured.verification.auc), ("rank1", measured.verification.rank1))
            if value is not None
        },
        stage_seconds={stage: record.seconds for stage, record in records.items()},
        versions=records["ingest"].versions,
        lineage=_digests(records),
        identity_of=identity_of,
        sweep=json.loads(run.sweep_result.read_text(encoding="utf-8")) if run.sweep_result.exists() else None,
        labels=labels,
        said=report_prompts(members.captions, members.identities, settings.generate.prompt_k, settings.data.generic)
        if settings.data.caption == "report"
        else None,
    )


def _labels(run: Run) -> dict[str, Any]:
    """What is known of the labels that were worked out."""
    found: dict[str, Any] = json.loads((run.labels / "figures.json").read_text(encoding="utf-8"))
    votes = found["source"] == "votes"
    people = pacsv.read_csv(run.labels / "annotators.csv", convert_options=_NAMES).to_pylist() if votes else []
    gallery = json.loads((run.labels / "changed.json").read_text(encoding="utf-8"))
    few = run.labels / "unsure.json"  # where little was known
    shown = json.loads(few.read_text(encoding="utf-8")) if few.exists() else {}
    return {**found, "people": people, "gallery": gallery, **shown}


def _audit(run: Run) -> AuditResult:
    """All figures; runs of before there was a private file have the released alone."""
    found = load(run.audit if run.audit.exists() else run.release_audit)
    if run.fingerprints.exists():
        planted = Fingerprints.model_validate_json(run.fingerprints.read_bytes())
        return found.model_copy(update={"fingerprints": planted})
    return found


def _candidates(run: Run, closest: set[str]) -> Candidates:
    """Decisions on all candidates, and the pictures of those that are shown: these closest ones, and what the filter ranks."""
    files = sorted(run.candidates.glob("*.parquet"))
    table = pa.concat_tables([pq.read_table(file, columns=["id", "score", "nearest", "keep", "reason"]) for file in files])
    scores, keep = table["score"].to_numpy(), table["keep"].to_numpy()
    ids = table["id"].to_pylist()
    shown = closest | {ids[i] for rows in dangerous(scores, keep, SHOWN_DANGERS) for i in rows}
    return Candidates(
        ids=ids,
        scores=np.asarray(scores, np.float32),
        nearest=table["nearest"].to_pylist(),
        keep=np.asarray(keep, bool),
        reasons=table["reason"].to_pylist(),
        images=_images(files, shown),
    )


def _images(files: Iterable[Path], ids: set[str]) -> dict[str, bytes]:
    """id -> encoded image of the rows asked for."""
    found: dict[str, bytes] = {}
    for file in sorted(files):
        table = pq.read_table(file, columns=["id", "image"])
        rows = table.filter(pc.is_in(table["id"], pa.array(sorted(ids), pa.string())))
        found |= {row["id"]: row["image"]["bytes"] for row in rows.to_pylist()}
    return found


def _head(files: Iterable[Path]) -> list[dict[str, bytes]]:
    """The first images of an arm's samples."""
    first = sorted(files)[0]
    rows: list[dict[str, bytes]] = pq.read_table(first, columns=["image"])["image"].slice(0, SHOWN_SAMPLES).to_pylist()
    return rows


def _digests(records: dict[str, Record]) -> dict[str, str]:
    return {name: digest for record in records.values() for name, digest in record.outputs.items()}
