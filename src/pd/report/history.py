"""What a run did, step by step, in sentences with counts."""

from dataclasses import dataclass

from pd.report.data import ReportData
from pd.report.formatting import decimal, percent

REASONS = {
    "reid": "re-identified as a member by the network",
    "near_copy": "a near-copy of a member image (cropped, mirrored, blurred, noisy or brighter)",
    "whitened": "like a member to the coarse look (thumbnails in a space learned from strangers)",
    "imagenet": "like a member in the features of a network trained on other pictures",
    "altered": "a copy of a member picture that was moved, turned, framed, covered or inverted",
    "gradients": "like a member in its edges",
    "duplicate": "the same pixels as an earlier candidate",
    "prompt": "its prompt was shared by too few people",
}
"""Plain words for the reasons that `pd.filters` writes; others are shown as they are."""


@dataclass(frozen=True)
class Step:
    """One step: its name, what happened, and how long it took (None when not recorded)."""

    name: str
    text: str
    seconds: float | None


def steps(data: ReportData) -> list[Step]:
    """The steps in the order they were taken."""
    counts, settings, candidates = data.counts, data.settings, data.candidates
    kept, made = int(candidates.keep.sum()), len(candidates.ids)
    people = counts.member_identities + counts.holdout_identities
    images = counts.member_images + counts.holdout_images
    bad = f" Bad images set aside: {counts.bad_images:,}." if counts.bad_images else ""
    words = {
        "auc": "AUC {} (0.5 is guessing, 1 perfect)",
        "rank1": "rank-1 {} (how often the most alike picture is the same person)",
    }
    known = [told.format(decimal(value)) for key, told in words.items() if (value := data.verification.get(key)) is not None]
    told = f" On people it had never seen it tells them apart with {' and '.join(known)}." if known else ""
    sentences = {
        "ingest": f"{images:,} images of {people:,} people were read: {counts.member_images:,} of "
        f"{counts.member_identities:,} members, from whom the teacher may learn, and {counts.holdout_images:,} of "
        f"{counts.holdout_identities:,} hold-out people, whom no generator sees.{bad}",
        "reid": f"A network learned to recognise the members.{told} The filter's threshold is {decimal(data.threshold)}.",
        "teacher": "A text-to-image model was brought that was trained elsewhere; what it learned from is not known."
        if settings.teacher.trained
        else f"A text-to-image model learned from the {counts.member_images:,} member images{_steps(settings.teacher.steps)}"
        + (" at most, until most of what it learned was about them alone." if settings.teacher.stop == "generalises" else "."),
        "generate": f"The teacher made {made:,} candidates, each scored against every member image.",
        "filter": f"{made - kept:,} candidates were dropped; {kept:,} ({percent(kept / max(made, 1), 0)}) were kept.",
        "student": f"A second model learned from the {kept:,} kept candidates and from nothing else"
        f"{_steps(settings.student.steps)}.",
        "audit": _audit(data),
    }
    names = {
        "ingest": "Read",
        "reid": "Learn to recognise",
        "teacher": "Teach",
        "generate": "Generate",
        "filter": "Filter",
        "student": "Distil",
        "audit": "Audit",
    }
    return [Step(names[name], text, data.stage_seconds.get(name)) for name, text in sentences.items()]


def _steps(count: int) -> str:
    return f" in {count:,} steps"


def _audit(data: ReportData) -> str:
    arms = data.audit.arms
    attackers = sorted({name for arm in arms.values() if arm.reid for name in arm.reid.by_attacker})
    besides = " and in the released data" if "kept" in arms else ""
    who = f"Attackers that had no part in the filter ({', '.join(attackers)})" if attackers else "Attackers"
    return (
        f"{who} tried to recognise members in samples of each model{besides}; the worst result counts."
        if arms
        else ("No model was audited.")
    )
