"""The tables that close a command."""

from rich.table import Table

from pd.audit.estimate import Estimate
from pd.audit.figures import measured, why_not
from pd.audit.results import ArmResult, AtPoint, AuditResult, Distance, FilterResult, Power, Rates, RealResult, load
from pd.progress import shown
from pd.report.costs import at_chosen
from pd.report.findings import named_by_best_match, released_in, why_not_named
from pd.report.forests import arms_of
from pd.report.formatting import usefulness
from pd.report.verdict import verdict
from pd.stages.bucket import fetch_audit
from pd.store.run import Run


def summary_table(run: Run) -> Table:
    """The audit of a finished run, an arm a row, and its verdict."""
    fetch_audit(run)
    audit = load(run.release_audit)
    table = arms_table(audit)
    counts = audit.filter or FilterResult()
    dropped = ", ".join(f"{n} {reason}" for reason, n in (counts.dropped or {}).items() if n) or "none"
    kept = f"kept {counts.kept} of {counts.candidates} candidates; dropped: {shown(dropped)}"
    table.caption = f"{kept}\n{shown(verdict(audit).title)}"
    return table


def arms_table(audit: AuditResult) -> Table:
    """Excess re-identification by the worst attacker, utility and fidelity, 95 % intervals below; an arm a row."""
    table = Table(title="audit")
    for heading in ("arm", "samples", "excess", "worst attacker", "utility AUC", "kernel distance x1000"):
        table.add_column(heading)
    real = audit.real or RealResult()
    rows: list[tuple[str, int | None, Rates | None, Estimate | None, Distance | None]] = [
        (arm, found.n, found.reid, usefulness(found), found.fidelity and found.fidelity.kid)
        for arm, found in ((arm, audit.arms[arm]) for arm in arms_of(audit))
    ]
    if member := real.member:
        rows.insert(0, ("real members", member.n, member, usefulness(real), None))
    for name, count, reid, useful, kid in rows:
        if reid and reid.excess:
            table.add_row(
                shown(name) + ("\n(released)" if name in released_in(audit) else ""),
                "" if count is None else str(count),
                _interval(reid.excess),
                shown(getattr(reid, "attacker", "") or ""),
                _interval(useful) if useful else "-",
                _kid(kid),
            )
    return table


_NOT_MEANT = "0 or less"


def measures_table(arm: ArmResult) -> Table:
    """What an audit of somebody's images found, a measure a row: interval, what is good, and what could have been seen."""
    table = Table(title="what the images give away, and whom they cover")
    for heading in ("measure", "value", "95 % interval", "good", "recognises of 100 copies / other pictures", "n"):
        table.add_column(heading, justify="left" if heading == "measure" else "right")
    extracted, guessed, covered = arm.extraction, measured(arm.attributes), measured(arm.coverage)
    copies, half = extracted and extracted.copies, guessed and guessed.hidden_half
    why, named = why_not(arm.coverage), named_by_best_match(arm)
    rows: list[tuple[str, Estimate | None, str, str, str]] = [
        (f"excess re-identification, {name}", found.excess, _NOT_MEANT, _recognises(found.power), "")
        for name, found in (arm.reid.by_attacker if arm.reid else {}).items()
    ]
    rows += [
        ("extracted: made again and again, a member's", extracted and extracted.excess, _NOT_MEANT, "", why_not(extracted)),
        ("copies of members' pictures, altered or not", copies and copies.excess, _NOT_MEANT, "", ""),
        ("members' pictures named by best match (of strangers': 0.01)", named, "at most 0.01", "", why_not_named(arm)),
        ("half-hidden pictures completed", half and half.advantage, _NOT_MEANT, "", ""),
        ("coverage: members near whom a sample lies", covered and covered.identities, "high", "", why),
        ("coverage: samples that lie near a member (precision)", covered and covered.precision, "high", "", why),
        ("coverage: member pictures near which a sample lies", covered and covered.images, "high", "", why),
    ]
    for name, found, good, seen, reason in rows:
        ends = f"{found.low:.3f} to {found.high:.3f}" if found else shown(reason)
        value, n = (f"{found.value:.3f}", str(found.n)) if found else ("-", "-")
        table.add_row(shown(name), value, ends, good, seen, n)
    table.caption = (
        "but for coverage, which tells nothing of leaks: shares beyond what the same gives of hold-out people, so that above 0 "
        "is a leak. Membership inference and fingerprints need the model (pd run, pd fingerprint)"
    )
    return table


def _recognises(power: Power | None) -> str:
    """Of a hundred planted copies, and of a hundred other pictures of members, how many an attacker recognises."""
    shares = [power.copies, power.other_pictures] if power else []
    return " / ".join(f"{100 * share.value:.0f}" if share else "?" for share in shares) if any(shares) else ""


def _kid(found: Distance | None) -> str:
    if not found:
        return "-"
    if found.high < 0:
        return "below 0: nearer than\nreal pictures are\nto one another"
    return f"{1000 * found.value:.1f}"


def tested_table(found: AtPoint) -> Table:
    """What a filter catches and lets pass as it is set, with intervals."""
    table = Table(title="the filter, tested at the thresholds in use")
    for heading in ("what", "share", "95 % interval"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for row in at_chosen(found):
        table.add_row(*map(shown, row))
    return table


def _interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f}\n({estimate.low:.3f} to {estimate.high:.3f})"
