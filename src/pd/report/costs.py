"""What the filter catches and what it costs, as short tables."""

from collections.abc import Mapping
from typing import Any

from pd.report.curves import KINDS
from pd.report.forests import SHORT, arms_of
from pd.report.plots import interval
from pd.report.steps import REASONS
from pd.report.words import decimal, dig, is_number, measure


def drops(audit: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """What the filter dropped, most frequent reason first; None when nobody counted."""
    counts = dig(audit, "filter", "dropped")
    if not isinstance(counts, Mapping):
        return None
    found = {reason: count for reason, count in counts.items() if is_number(count) and count}
    made = dig(audit, "filter", "candidates")
    total = max(made if is_number(made) else sum(found.values()), 1)
    return [
        {"reason": reason, "words": REASONS.get(reason, ""), "count": int(count), "share": count / total}
        for reason, count in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]


def at_chosen(audit: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(what, figure, interval) of the filter at the threshold in use: each kind of planted leak, then strangers."""
    found = dig(audit, "filter", "at_chosen", "sensitivity")
    rows = [(f"{KINDS.get(kind, kind)} caught", entry) for kind, entry in found.items()] if isinstance(found, Mapping) else []
    rows.append(("strangers let pass", dig(audit, "filter", "at_chosen", "specificity")))
    drawn = [(label[0].upper() + label[1:], interval(label, "", entry)) for label, entry in rows]
    return [(label, row.text, row.interval) for label, row in drawn if row]


def consistency(audit: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(what, figure, interval) of how filters of other seeds agree: over candidates, and from pair to pair of filters."""
    found = dig(audit, "filter", "consistency")
    rows = [
        ("Cohen's kappa of keep and drop", dig(found, "kappa")),
        ("Overlap of dropped sets (Jaccard)", dig(found, "jaccard")),
        ("Cohen's kappa of the networks alone", dig(found, "networks", "kappa")),
    ]
    drawn = [(label, interval(label, "", entry, "decimal")) for label, entry in rows]
    told = [(f"{label}; interval over candidates", row.text, row.interval) for label, row in drawn if row]
    pairs = dig(found, "kappa_of_pairs")
    if isinstance(pairs, list) and len(pairs) == 2 and all(map(is_number, pairs)):
        told.append(("Cohen's kappa of single pairs of filters", " to ".join(map(decimal, pairs)), ""))
    return told


def subgroups(audit: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, list[tuple[str, str]]]]] | None:
    """Columns, and (group, [(figure, interval)]): what arms and real images are worth for hold-out people who have a label."""
    arms = [(SHORT.get(arm, arm), dig(audit, "arms", arm, "utility", "subgroups")) for arm in arms_of(audit)]
    told = [
        (name, found)
        for name, found in (*arms, ("Real images", dig(audit, "real", "utility", "subgroups")))
        if isinstance(found, Mapping)
    ]
    groups = dict.fromkeys((label, value) for _, found in told for label, values in found.items() for value in values)
    rows = []
    for label, value in groups:
        drawn = [interval("", "", dig(found, label, value), "decimal") for _, found in told]
        rows.append((f"{label} = {value}", [(row.text, row.interval) if row else ("", "") for row in drawn]))
    return ([name for name, _ in told], rows) if rows else None


def gini(audit: Mapping[str, Any]) -> float | None:
    """How unevenly candidates are dropped over people: 0 evenly, 1 all of one person."""
    figure = measure(dig(audit, "filter", "cost", "by_identity", "gini"))
    return figure["value"] if figure else None
