"""What the filter catches and what it costs, as short tables."""

from typing import TypedDict

from pd.audit.figures import measured
from pd.audit.results import AtPoint, AuditResult
from pd.report.curves import KINDS
from pd.report.forests import SHORT, arms_of
from pd.report.formatting import decimal
from pd.report.history import REASONS
from pd.report.plots import interval


class Drop(TypedDict):
    """How many candidates were dropped for a reason, and their share of all."""

    reason: str
    words: str
    count: int
    share: float


def drops(audit: AuditResult) -> list[Drop] | None:
    """What the filter dropped, most frequent reason first; None when nobody counted."""
    if audit.filter is None or audit.filter.dropped is None:
        return None
    found = {reason: count for reason, count in audit.filter.dropped.items() if count}
    made = audit.filter.candidates
    total = max(sum(found.values()) if made is None else made, 1)
    return [
        {"reason": reason, "words": REASONS.get(reason, ""), "count": count, "share": count / total}
        for reason, count in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]


def at_chosen(found: AtPoint | None) -> list[tuple[str, str, str]]:
    """(what, figure, interval) of the filter at the threshold in use: each kind of planted leak, then strangers."""
    if found is None:
        return []
    rows = [(f"{KINDS.get(kind, kind)} caught", entry) for kind, entry in found.sensitivity.items()]
    rows += [("strangers let pass", found.specificity)] if found.specificity else []
    drawn = [(label[0].upper() + label[1:], interval(label, "", entry)) for label, entry in rows]
    return [(label, row.text, row.interval) for label, row in drawn if row]


def consistency(audit: AuditResult) -> list[tuple[str, str, str]]:
    """(what, figure, interval) of how filters of other seeds agree: over candidates, and from pair to pair of filters."""
    found = measured(audit.filter.consistency) if audit.filter else None
    if found is None:
        return []
    rows = [
        ("Cohen's kappa of keep and drop", found.kappa),
        ("Overlap of dropped sets (Jaccard)", found.jaccard),
        ("Cohen's kappa of the networks alone", found.networks.kappa if found.networks else None),
    ]
    drawn = [(label, interval(label, "", entry, "decimal")) for label, entry in rows]
    told = [(f"{label}; interval over candidates", row.text, row.interval) for label, row in drawn if row]
    if found.kappa_of_pairs:
        told.append(("Cohen's kappa of single pairs of filters", " to ".join(map(decimal, found.kappa_of_pairs)), ""))
    return told


def subgroups(audit: AuditResult) -> tuple[list[str], list[tuple[str, list[tuple[str, str]]]]] | None:
    """Columns, and (group, [(figure, interval)]): what arms and real images are worth for hold-out people who have a label."""
    useful = [(SHORT.get(arm, arm), audit.arms[arm].utility) for arm in arms_of(audit)]
    useful.append(("Real images", audit.real.utility if audit.real else None))
    told = [(name, found.subgroups) for name, found in useful if found and found.subgroups]
    groups = dict.fromkeys((label, value) for _, found in told for label, values in found.items() for value in values)
    rows = []
    for label, value in groups:
        drawn = [interval("", "", found.get(label, {}).get(value), "decimal") for _, found in told]
        rows.append((f"{label} = {value}", [(row.text, row.interval) if row else ("", "") for row in drawn]))
    return ([name for name, _ in told], rows) if rows else None


def gini(audit: AuditResult) -> float | None:
    """How unevenly candidates are dropped over people: 0 evenly, 1 all of one person."""
    cost = measured(audit.filter.cost) if audit.filter else None
    return cost.by_identity.gini if cost and cost.by_identity else None
