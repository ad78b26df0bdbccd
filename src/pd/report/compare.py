"""Arms and runs side by side: an arm a row, and a page with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pd.audit.estimate import Estimate
from pd.audit.figures import measured
from pd.audit.results import ArmResult, AuditResult
from pd.report.findings import named_by_best_match
from pd.report.forests import arms_of, kept_share, kind_of
from pd.report.formatting import ARMS, excess_of, usefulness
from pd.report.html import environment
from pd.report.plots import Forest, interval
from pd.store.atomic import write_bytes

LEAKS: Mapping[str, tuple[str, str]] = {
    "excess": ("Excess", "percent"),
    "copies": ("Copies", "percent"),
    "extracted": ("Extracted", "percent"),
    "membership": ("Membership (AUC)", "decimal"),
    "best_match": ("Named by best match", "percent"),
    "attribute": ("Attribute, worst", "decimal"),
    "hidden_half": ("Half-hidden pictures", "decimal"),
}
"""What may leak -> its heading, and whether it is told in percent."""

MEASURES: Mapping[str, tuple[str, str]] = {
    **LEAKS,
    "detectable": ("Leak it would find", "percent"),
    "utility": ("Utility (AUC)", "decimal"),
    "coverage": ("Members near whom a sample lies", "percent"),
    "kept": ("Kept", "percent"),
}
"""All that is compared, likewise."""


@dataclass(frozen=True)
class Compared:
    """One arm of one run.

    Attributes:
        run: what the run is called.
        arm: which model, or the released data.
        samples: how many were attacked; None: not told.
        attacker: the worst.
        figures: measure -> its interval, or a number that has none; those measured alone.
        blind: whether the audit would have found no leak, however large (`detectable` has no figure then).
    """

    run: str
    arm: str
    samples: int | None
    attacker: str
    figures: Mapping[str, Estimate | float]
    blind: bool = False

    def as_json(self) -> dict[str, Any]:
        """For machines: every measure, None where there is no figure."""
        figures = {name: _as_json(self.figures.get(name)) for name in MEASURES}
        return {
            "run": self.run,
            "arm": self.arm,
            "samples": self.samples,
            "attacker": self.attacker,
            **figures,
            "blind": self.blind,
        }

    def cell(self, name: str) -> tuple[str, str]:
        """(figure, interval) of a measure in words; empty where there is none."""
        if name == "detectable" and self.blind:
            return "none", ""
        row = interval("", "", self.figures.get(name), MEASURES[name][1])
        return (row.text, row.interval) if row else ("", "")


def _as_json(figure: Estimate | float | None) -> dict[str, float] | None:
    if isinstance(figure, Estimate):
        return {"value": figure.value, "low": figure.low, "high": figure.high}
    return None if figure is None else {"value": figure}


def compare(audits: Mapping[str, AuditResult]) -> list[Compared]:
    """Rows in the order of the runs, arms in the usual order.

    Args:
        audits: the run's name -> its audit.
    """
    return [_compared(run, arm, audit) for run, audit in audits.items() for arm in arms_of(audit)]


def _compared(run: str, arm: str, audit: AuditResult) -> Compared:
    entry = audit.arms[arm]
    power = entry.reid.power if entry.reid else None
    found = {
        "excess": excess_of(entry),
        "utility": usefulness(entry),
        "coverage": getattr(measured(entry.coverage), "identities", None),
        "kept": _kept(arm, audit),
        "detectable": power and power.detectable,
        **_leaks(entry),
    }
    return Compared(
        run,
        arm,
        entry.n,
        (entry.reid.attacker or "") if entry.reid else "",
        {name: figure for name, figure in found.items() if figure is not None},
        bool(power and power.blind),
    )


def _leaks(entry: ArmResult) -> dict[str, Estimate | None]:
    models, guessed, extracted = measured(entry.membership), measured(entry.attributes), entry.extraction
    asked = [measured(attack) for attack in ((models.loss, models.likelihood_ratio) if models else ())]
    aucs = [attack.auc for attack in asked if attack and attack.auc]
    worst = guessed.by_label.get(guessed.worst or "") if guessed else None
    half = guessed.hidden_half if guessed else None
    copies = extracted.copies if extracted else None
    return {
        # As for re-identification, the attack that finds most is told.
        "membership": max(aucs, key=lambda auc: auc.low, default=None),
        "extracted": extracted.excess if extracted else None,
        "copies": copies.excess if copies else None,
        "best_match": named_by_best_match(entry),
        "attribute": worst.advantage if worst else None,
        "hidden_half": half.advantage if half else None,
    }


def _kept(arm: str, audit: AuditResult) -> float | None:
    """Share of the candidates that the arm's model learned from, or that the arm is; the teacher's own are all there."""
    if arm in ("teacher", "unfiltered"):
        return 1.0
    return kept_share(audit) if arm in ARMS else None


def write_comparison(rows: Sequence[Compared], out: Path) -> Path:
    """Write a page with the table and a forest plot of each measure that has intervals; made of audits alone.

    Args:
        rows: from `compare`.
        out: the file.

    Returns:
        `out`.
    """
    runs = list(dict.fromkeys(row.run for row in rows))
    axes = {
        "excess": ("excess re-identification (0 %: learned nobody)", 0.0),
        "copies": ("copies, beyond what strangers give (0 %: none)", 0.0),
        "membership": ("AUC of membership inference (0.5: guessing)", 0.5),
        "hidden_half": ("advantage (0: no better than strangers')", 0.0),
        "utility": ("AUC on real hold-out images (0.5: guessing)", 0.5),
    }
    forests = []
    for name, (axis, reference) in axes.items():
        drawn = [
            interval(
                f"{row.run}: {row.arm}" if len(runs) > 1 else row.arm,
                kind_of(row.arm),
                row.figures.get(name),
                MEASURES[name][1],
            )
            for row in rows
        ]
        found = [row for row in drawn if row]
        if found:
            title = f"{MEASURES[name][0]} of each arm, with 95 % intervals"
            forests.append((MEASURES[name][0], Forest(name, title, axis, found, MEASURES[name][1], reference)))
    page = environment().get_template("compare.html.j2")
    rest = [name for name in MEASURES if name not in LEAKS]
    tables = [("leaks", "What leaks", list(LEAKS)), ("rest", "How sure that is, and what it costs", rest)]
    text = page.render(rows=rows, tables=tables, headings=MEASURES, runs=runs, forests=forests)
    write_bytes(out, text.encode())
    return out
