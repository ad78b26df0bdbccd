"""The audit's attacks as forest plots: intervals beside the value that means nothing was found."""

from collections.abc import Mapping
from typing import Any

from pd.report.plots import Forest, Interval, interval
from pd.report.words import ARMS, dig

SHORT = {
    "teacher": "Teacher",
    "filtered": "Released student",
    "kept": "Released data",
    "random_drop": "Random drop",
    "unfiltered": "Unfiltered",
}


def arms_of(audit: Mapping[str, Any]) -> list[str]:
    """Audited arms, in the usual order."""
    arms = dig(audit, "arms")
    names = [arm for arm, entry in arms.items() if isinstance(entry, Mapping)] if isinstance(arms, Mapping) else []
    return [arm for arm in ARMS if arm in names] + sorted(set(names) - set(ARMS))


def kind_of(arm: str) -> str:
    """Colour of an arm."""
    return "released" if arm == "filtered" else arm if arm in ARMS and arm != "condensed" else "other"


def reidentification(audit: Mapping[str, Any]) -> Forest | None:
    """Excess re-identification of each arm by its worst attacker, up to the highest end of all attackers' intervals."""
    rows = [interval(ARMS.get(arm, arm), kind_of(arm), dig(audit, "arms", arm, "reid", "excess")) for arm in arms_of(audit)]
    return _forest(
        "reid",
        "Excess re-identification",
        "excess by the worst attacker (0 %: learned nobody)",
        rows,
    )


def extraction(audit: Mapping[str, Any]) -> Forest | None:
    """Samples of each arm that are a member's picture again and again, beside a stranger's, and copies beyond strangers'."""
    rows = []
    for arm in arms_of(audit):
        found = dig(audit, "arms", arm, "extraction")
        rows.append(interval(f"{SHORT.get(arm, arm)}, repeated", kind_of(arm), dig(found, "extracted")))
        rows.append(interval(f"{SHORT.get(arm, arm)}, strangers’", "control", dig(found, "control")))
        rows.append(interval(f"{SHORT.get(arm, arm)}, copies", kind_of(arm), dig(found, "copies", "excess")))
    return _forest(
        "extraction", "Share of samples that are a training image again", "share of samples; of copies, beyond strangers’", rows
    )


def membership(audit: Mapping[str, Any]) -> Forest | None:
    """AUC of both membership attacks on each arm."""
    rows = []
    for attack, name in (("loss", "loss"), ("likelihood_ratio", "likelihood ratio")):
        for arm in arms_of(audit):
            entry = dig(audit, "arms", arm, "membership", attack, "auc")
            rows.append(interval(f"{SHORT.get(arm, arm)}, {name}", kind_of(arm), entry, "decimal"))
    return _forest("membership", "AUC of membership inference", "AUC (0.5: guessing, 1: all told apart)", rows, "decimal", 0.5)


def attributes(audit: Mapping[str, Any]) -> Forest | None:
    """Advantage of guessing each hidden attribute of members over that of strangers, by arm."""
    rows = []
    for arm in arms_of(audit):
        labels = dig(audit, "arms", arm, "attributes", "by_label")
        for label, entry in labels.items() if isinstance(labels, Mapping) else ():
            rows.append(interval(f"{SHORT.get(arm, arm)}, {label}", kind_of(arm), dig(entry, "advantage"), "decimal"))
        half = dig(audit, "arms", arm, "attributes", "hidden_half", "advantage")
        rows.append(interval(f"{SHORT.get(arm, arm)}, half-hidden picture", kind_of(arm), half, "decimal"))
    return _forest(
        "attributes",
        "Advantage of guessing attributes",
        "advantage (0: no better than strangers'; 1: perfectly)",
        rows,
        "decimal",
    )


def strangers_cost(audit: Mapping[str, Any]) -> Forest | None:
    """Drop rate of real strangers' images by label and value."""
    rows = _by_label(dig(audit, "filter", "cost", "strangers_by_label"))
    return _forest("strangers-cost", "Strangers' images dropped by label", "share of strangers' images dropped", rows)


def _by_label(labels: Any) -> list[Interval | None]:
    return [
        interval(f"{label} = {value}", "dropped", entry)
        for label, values in (labels.items() if isinstance(labels, Mapping) else ())
        for value, entry in (values.items() if isinstance(values, Mapping) else ())
    ]


def cost(audit: Mapping[str, Any]) -> Forest | None:
    """Drop rate of candidates by label and value, beside that of all."""
    rows = _by_label(dig(audit, "filter", "cost", "by_label"))
    made, kept = dig(audit, "filter", "candidates"), dig(audit, "filter", "kept")
    if not made or kept is None:
        return _forest("cost", "Candidates dropped by label", "share dropped", rows)
    overall = 1 - kept / made
    return _forest(
        "cost", "Candidates dropped by label", f"share dropped (of all candidates: {overall:.0%})", rows, reference=overall
    )


def _forest(
    name: str, title: str, axis: str, rows: list[Interval | None], form: str = "percent", reference: float = 0.0
) -> Forest | None:
    found = [row for row in rows if row is not None]
    return Forest(name, f"{title}, with 95 % intervals", axis, found, form, reference) if found else None
