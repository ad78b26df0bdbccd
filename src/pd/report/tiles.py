"""The numbers to read first."""

from pd.audit.estimate import Estimate
from pd.audit.results import AuditResult
from pd.report import formatting


def tiles(audit: AuditResult) -> list[tuple[str, str, str]]:
    """(label, figure, note) of excess of teacher, student and data, share kept and usefulness."""
    found = audit.filter
    known = found is not None and found.kept is not None and found.candidates is not None
    return [
        ("Excess re-identification, teacher", *_risk(formatting.excess(audit, "teacher"))),
        ("Excess re-identification, released student", *_risk(formatting.excess(audit, "filtered"))),
        ("Excess re-identification, released data", *_risk(formatting.excess(audit, "kept"))),
        ("Candidates kept", *((f"{found.kept:,}", f"of {found.candidates:,}") if found and known else ("–", formatting.NONE))),
        ("Usefulness of the student", *_useful(audit)),
    ]


def _risk(figure: Estimate | None) -> tuple[str, str]:
    if figure is None:
        return "–", formatting.NONE
    ends = f"{formatting.percent(figure.low).removesuffix(' %')} to {formatting.percent(figure.high)}"
    return formatting.percent(figure.value), f"95 % interval {ends}"


def _useful(audit: AuditResult) -> tuple[str, str]:
    teacher, student = (formatting.usefulness(audit.arms.get(arm)) for arm in ("teacher", "filtered"))
    if student is None:
        return "–", formatting.NONE
    note = (
        f"AUC on real images; the teacher's {formatting.decimal(teacher.value)}" if teacher else "AUC on real hold-out images"
    )
    if student.low <= 0.5:
        note += "; its interval holds 0.5, which is guessing"
    return formatting.decimal(student.value), note
