"""Arms and runs side by side: an arm a row, and a page with their intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pd.report.forests import arms_of, kind_of
from pd.report.html import environment
from pd.report.plots import Forest, interval
from pd.report.words import ARMS, dig, is_number, measure
from pd.store.atomic import write_bytes

LEAKS: Mapping[str, tuple[str, str]] = {
    "excess": ("Excess", "percent"),
    "copies": ("Copies", "percent"),
    "extracted": ("Extracted", "percent"),
    "membership": ("Membership (AUC)", "decimal"),
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
        figures: measure -> value, and low and high where there is an interval; those measured alone.
        blind: whether the audit would have found no leak, however large (`detectable` has no figure then).
    """

    run: str
    arm: str
    samples: int | None
    attacker: str
    figures: Mapping[str, Mapping[str, float]]
    blind: bool = False

    def as_json(self) -> dict[str, Any]:
        """For machines: every measure, None where there is no figure."""
        figures = {name: dict(self.figures[name]) if name in self.figures else None for name in MEASURES}
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


def compare(audits: Mapping[str, Mapping[str, Any]]) -> list[Compared]:
    """Rows in the order of the runs, arms in the usual order.

    Args:
        audits: the run's name -> its `audit.json`.
    """
    return [_compared(run, arm, audit) for run, audit in audits.items() for arm in arms_of(audit)]


def _compared(run: str, arm: str, audit: Mapping[str, Any]) -> Compared:
    entry = dig(audit, "arms", arm)
    samples = dig(entry, "n")
    attacks = [measure(dig(entry, "membership", attack, "auc")) for attack in ("loss", "likelihood_ratio")]
    found = {
        "excess": measure(dig(entry, "reid", "excess")),
        "utility": measure(dig(entry, "utility", "auc")),
        "coverage": measure(dig(entry, "coverage", "identities")),
        "kept": _kept(arm, audit),
        # As for re-identification, the attack that finds most is told.
        "membership": max((figure for figure in attacks if figure), key=lambda figure: figure["value"], default=None),
        "extracted": measure(dig(entry, "extraction", "excess")),
        "copies": measure(dig(entry, "extraction", "copies", "excess")),
        "attribute": measure(dig(entry, "attributes", "by_label", str(dig(entry, "attributes", "worst")), "advantage")),
        "hidden_half": measure(dig(entry, "attributes", "hidden_half", "advantage")),
        "detectable": measure(dig(entry, "reid", "power", "detectable")),
    }
    return Compared(
        run,
        arm,
        int(samples) if is_number(samples) else None,
        str(dig(entry, "reid", "attacker") or ""),
        {name: figure for name, figure in found.items() if figure},
        dig(entry, "reid", "power", "blind") is True,
    )


def _kept(arm: str, audit: Mapping[str, Any]) -> dict[str, float] | None:
    """Share of the candidates that the arm's model learned from, or that the arm is; the teacher's own are all there."""
    if arm in ("teacher", "unfiltered"):
        return {"value": 1.0}
    made, kept = (dig(audit, "filter", key) for key in ("candidates", "kept"))
    told = arm in ARMS and is_number(made) and is_number(kept) and made > 0
    return {"value": kept / made} if told else None


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
