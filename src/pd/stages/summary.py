"""The tables that close a command."""

import json
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from pd.progress import shown
from pd.report.costs import at_chosen
from pd.report.findings import RELEASED
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
            shown(name) + ("\n(released)" if name in RELEASED else ""),
            str(figures.get("n", "")),
            _interval(reid["excess"]),
            shown(str(reid["attacker"])),
            _interval(utility["auc"]) if utility and utility.get("auc") else "-",
            f"{1000 * kid['value']:.1f}" if kid else "-",
        )
    return table


def measures_table(arm: Mapping[str, Any]) -> Table:
    """What an audit of somebody's images found, a measure a row, with its interval and the number of samples or pictures."""
    table = Table(title="what the images give away, and whom they cover")
    for heading in ("measure", "value", "95 % interval", "n"):
        table.add_column(heading, justify="left" if heading == "measure" else "right")
    rows = {f"excess re-identification, {name}": found["excess"] for name, found in arm["reid"]["by_attacker"].items()}
    repeated, covered = "extracted: made again and again, a member's", arm["coverage"]
    reasons = {repeated: arm["extraction"].get("why", "")}
    rows[repeated] = arm["extraction"].get("excess")
    rows["copies of members' pictures"] = arm["extraction"]["copies"]["excess"]
    rows["half-hidden pictures completed"] = arm["attributes"]["hidden_half"]["advantage"]
    rows |= {
        "members represented": covered.get("identities"),
        "precision": covered.get("precision"),
        "recall": covered.get("recall"),
    }
    for name, found in rows.items():
        ends = (
            f"{found['low']:.3f} to {found['high']:.3f}" if found else shown(str(reasons.get(name) or covered.get("why", "")))
        )
        table.add_row(shown(name), f"{found['value']:.3f}" if found else "-", ends, str(found["n"]) if found else "-")
    table.caption = (
        "all but the last three: beyond what the same gives of hold-out people; membership inference and fingerprints need the "
        "model (pd run, pd fingerprint)"
    )
    return table


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
