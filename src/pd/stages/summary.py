"""The tables that close a command."""

import json
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from pd.progress import shown
from pd.report.costs import at_chosen
from pd.report.findings import released_in
from pd.report.forests import arms_of
from pd.report.verdict import verdict
from pd.store.mirror import pull
from pd.store.run import Run


def summary_table(run: Run) -> Table:
    """The audit of a finished run, an arm a row, and its verdict."""
    pull(run.release_audit)
    audit = json.loads(run.release_audit.read_text(encoding="utf-8"))
    table = arms_table(audit)
    counts = audit["filter"]
    dropped = ", ".join(f"{n} {reason}" for reason, n in counts["dropped"].items() if n) or "none"
    kept = f"kept {counts['kept']} of {counts['candidates']} candidates; dropped: {shown(dropped)}"
    table.caption = f"{kept}\n{shown(verdict(audit).title)}"
    return table


def arms_table(audit: Mapping[str, Any]) -> Table:
    """Excess re-identification by the worst attacker, utility and fidelity, 95 % intervals below; an arm a row."""
    table = Table(title="audit")
    for heading in ("arm", "samples", "excess", "worst attacker", "utility AUC", "KID x1000"):
        table.add_column(heading)
    real = audit.get("real", {})
    for name, figures in {"real members": real.get("member"), **{arm: audit["arms"][arm] for arm in arms_of(audit)}}.items():
        if not figures:
            continue
        reid = figures.get("reid", figures)
        utility = figures.get("utility") if name != "real members" else real.get("utility")
        kid = (figures.get("fidelity") or {}).get("kid")
        table.add_row(
            shown(name) + ("\n(released)" if name in released_in(audit) else ""),
            str(figures.get("n", "")),
            _interval(reid["excess"]),
            shown(str(reid["attacker"])),
            _interval(utility["auc"]) if utility and utility.get("auc") else "-",
            _kid(kid),
        )
    return table


_NOT_MEANT = "0 or less"


def measures_table(arm: Mapping[str, Any]) -> Table:
    """What an audit of somebody's images found, a measure a row: interval, what is good, and what could have been seen."""
    table = Table(title="what the images give away, and whom they cover")
    for heading in ("measure", "value", "95 % interval", "good", "recognises of 100 copies / other pictures", "n"):
        table.add_column(heading, justify="left" if heading == "measure" else "right")
    repeated, covered = "extracted: made again and again, a member's", arm["coverage"]
    rows: list[tuple[str, Any, str, str]] = [
        (f"excess re-identification, {name}", found["excess"], _NOT_MEANT, _recognises(found.get("power") or {}))
        for name, found in arm["reid"]["by_attacker"].items()
    ]
    rows += [
        (repeated, arm["extraction"].get("excess"), _NOT_MEANT, ""),
        ("copies of members' pictures, altered or not", arm["extraction"]["copies"]["excess"], _NOT_MEANT, ""),
        ("half-hidden pictures completed", arm["attributes"]["hidden_half"]["advantage"], _NOT_MEANT, ""),
        ("coverage: members near whom a sample lies", covered.get("identities"), "high", ""),
        ("coverage: samples that lie near a member (precision)", covered.get("precision"), "high", ""),
        ("coverage: member pictures near which a sample lies (recall)", covered.get("recall"), "high", ""),
    ]
    for name, found, good, seen in rows:
        reason = arm["extraction"].get("why", "") if name == repeated else covered.get("why", "")
        ends = f"{found['low']:.3f} to {found['high']:.3f}" if found else shown(str(reason))
        value, n = (f"{found['value']:.3f}", str(found["n"])) if found else ("-", "-")
        table.add_row(shown(name), value, ends, good, seen, n)
    table.caption = (
        "but for coverage, which tells nothing of leaks: shares beyond what the same gives of hold-out people, so that above 0 "
        "is a leak. Membership inference and fingerprints need the model (pd run, pd fingerprint)"
    )
    return table


def _recognises(power: Mapping[str, Any]) -> str:
    """Of a hundred planted copies, and of a hundred other pictures of members, how many an attacker recognises."""
    shares = [power.get(kind) for kind in ("copies", "other_pictures")]
    return " / ".join(f"{100 * share['value']:.0f}" if share else "?" for share in shares) if any(shares) else ""


def _kid(found: Mapping[str, float] | None) -> str:
    if not found:
        return "-"
    if found.get("high", 0.0) < 0:
        return "below 0: nearer than\nreal pictures are\nto one another"
    return f"{1000 * found['value']:.1f}"


def tested_table(figures: Mapping[str, Any]) -> Table:
    """What a filter catches and lets pass as it is set, with intervals."""
    table = Table(title="the filter, tested at the thresholds in use")
    for heading in ("what", "share", "95 % interval"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for row in at_chosen({"filter": figures}):
        table.add_row(*map(shown, row))
    return table


def _interval(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.3f}\n({estimate['low']:.3f} to {estimate['high']:.3f})"
