"""The audit's attacks as forest plots: intervals beside the value that means nothing was found."""

from collections.abc import Mapping

from pd.audit.estimate import Estimate
from pd.audit.figures import measured
from pd.audit.results import AuditResult
from pd.report.formatting import ARMS, excess
from pd.report.plots import Forest, Interval, interval

SHORT = {
    "teacher": "Teacher",
    "early": "Early stop",
    "filtered": "Released student",
    "kept": "Released data",
    "random_drop": "Random drop",
    "unfiltered": "Unfiltered",
}


def arms_of(audit: AuditResult) -> list[str]:
    """Audited arms, in the usual order."""
    return [arm for arm in ARMS if arm in audit.arms] + sorted(set(audit.arms) - set(ARMS))


def kind_of(arm: str) -> str:
    """Colour of an arm."""
    return "released" if arm == "filtered" else arm if arm in ARMS and arm != "condensed" else "other"


def kept_share(audit: AuditResult) -> float | None:
    """Share of the candidates that the filter kept; None where that was not counted."""
    found = audit.filter
    return found.kept / found.candidates if found and found.kept is not None and found.candidates else None


def reidentification(audit: AuditResult) -> Forest | None:
    """Excess re-identification of each arm by its worst attacker, up to the highest end of all attackers' intervals."""
    rows = [interval(ARMS.get(arm, arm), kind_of(arm), excess(audit, arm)) for arm in arms_of(audit)]
    return _forest(
        "reid",
        "Excess re-identification",
        "excess by the worst attacker (0 %: learned nobody)",
        rows,
    )


def extraction(audit: AuditResult) -> Forest | None:
    """Samples of each arm that are a member's picture again and again, beside a stranger's, and copies beyond strangers'."""
    rows = []
    for arm in arms_of(audit):
        if found := audit.arms[arm].extraction:
            copies = found.copies.excess if found.copies else None
            rows.append(interval(f"{SHORT.get(arm, arm)}, repeated", kind_of(arm), found.extracted))
            rows.append(interval(f"{SHORT.get(arm, arm)}, strangers’", "control", found.control))
            rows.append(interval(f"{SHORT.get(arm, arm)}, copies", kind_of(arm), copies))
    return _forest(
        "extraction", "Share of samples that are a training image again", "share of samples; of copies, beyond strangers’", rows
    )


def membership(audit: AuditResult) -> Forest | None:
    """AUC of both membership attacks on each arm."""
    rows = []
    for attack in ("loss", "likelihood ratio"):
        for arm in arms_of(audit):
            if asked := measured(audit.arms[arm].membership):
                found = measured(asked.loss if attack == "loss" else asked.likelihood_ratio)
                rows.append(interval(f"{SHORT.get(arm, arm)}, {attack}", kind_of(arm), found.auc if found else None, "decimal"))
    return _forest("membership", "AUC of membership inference", "AUC (0.5: guessing, 1: all told apart)", rows, "decimal", 0.5)


def attributes(audit: AuditResult) -> Forest | None:
    """Advantage of guessing each hidden attribute of members over that of strangers, by arm."""
    rows = []
    for arm in arms_of(audit):
        if found := measured(audit.arms[arm].attributes):
            for label, guessed in found.by_label.items():
                rows.append(interval(f"{SHORT.get(arm, arm)}, {label}", kind_of(arm), guessed.advantage, "decimal"))
            half = found.hidden_half.advantage if found.hidden_half else None
            rows.append(interval(f"{SHORT.get(arm, arm)}, half-hidden picture", kind_of(arm), half, "decimal"))
    return _forest(
        "attributes",
        "Advantage of guessing attributes",
        "advantage (0: no better than strangers'; 1: perfectly)",
        rows,
        "decimal",
    )


def strangers_cost(audit: AuditResult) -> Forest | None:
    """Drop rate of real strangers' images by label and value."""
    found = measured(audit.filter.cost) if audit.filter else None
    rows = _by_label(found.strangers_by_label if found else {})
    return _forest("strangers-cost", "Strangers' images dropped by label", "share of strangers' images dropped", rows)


def _by_label(labels: Mapping[str, Mapping[str, Estimate]]) -> list[Interval | None]:
    return [
        interval(f"{label} = {value}", "dropped", entry) for label, values in labels.items() for value, entry in values.items()
    ]


def cost(audit: AuditResult) -> Forest | None:
    """Drop rate of candidates by label and value, beside that of all."""
    found = measured(audit.filter.cost) if audit.filter else None
    rows = _by_label(found.by_label if found else {})
    share = kept_share(audit)
    if share is None:
        return _forest("cost", "Candidates dropped by label", "share dropped", rows)
    overall = 1 - share
    return _forest(
        "cost", "Candidates dropped by label", f"share dropped (of all candidates: {overall:.0%})", rows, reference=overall
    )


def _forest(
    name: str, title: str, axis: str, rows: list[Interval | None], form: str = "percent", reference: float = 0.0
) -> Forest | None:
    found = [row for row in rows if row is not None]
    return Forest(name, f"{title}, with 95 % intervals", axis, found, form, reference) if found else None
