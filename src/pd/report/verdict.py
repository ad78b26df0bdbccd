"""The audit's verdict in plain words: what leaks, how sure that is, and whether the audit could have seen it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pd.report.findings import Finding, State, findings_of
from pd.report.words import decimal, dig, excess, in_hundred, is_number, measure


@dataclass(frozen=True)
class Verdict:
    """The first thing that is read.

    Attributes:
        state: of the released student over all attacks.
        title: one sentence.
        lines: (heading, sentences): what leaks, how sure, could the audit have seen it, what it is worth.
        findings: attack by attack, those that were not made too.
    """

    state: State
    title: str
    lines: list[tuple[str, str]]
    findings: list[Finding]


def verdict(audit: Mapping[str, Any]) -> Verdict:
    """Weigh `audit.json`; what is missing counts as not known, never as safe."""
    findings = list(findings_of(audit))
    state, title = _title(audit, findings)
    lines = [
        ("How sure?", _sure(audit)),
        ("Could the audit have seen it?", _power(audit)),
        ("What is it worth?", _worth(audit)),
    ]
    return Verdict(state, title, [(heading, text) for heading, text in lines if text], findings)


def _title(audit: Mapping[str, Any], findings: list[Finding]) -> tuple[State, str]:
    found, perhaps = ([one.attack.lower() for one in findings if one.state == state] for state in ("leak", "borderline"))
    made = [finding for finding in findings if finding.state == "clear" and finding.attack != "Fingerprints"]
    if found:
        also = f", and perhaps by {_and(perhaps)}" if perhaps else ""
        return "leak", f"The released student still gives people away: by {_and(found)}{also}."
    if perhaps:
        return "borderline", f"The released student may give people away, by {_and(perhaps)}: only just more than chance gives."
    if not any(finding.attack == "Re-identification" for finding in made):
        because = "its interval is too wide to tell" if "low" in (excess(audit, "filtered") or {}) else "it was not attacked"
        return "unknown", f"It is not known what the released student gives away: {because}."
    if dig(audit, "arms", "filtered", "reid", "power", "blind") is True:
        return "unknown", "No leak is shown in the released student, but so small an audit could not have seen one."
    attacks = "the one attack that was made" if len(made) == 1 else f"{len(made)} kinds of attack"
    high = (excess(audit, "filtered") or {}).get("high", 0.0)
    limit = f"; re-identification in up to {in_hundred(high)} in 100 samples is not ruled out" if high > 0 else ""
    return "clear", f"No leak is shown in the released student by {attacks}{limit}."


def _sure(audit: Mapping[str, Any]) -> str:
    figure = excess(audit, "filtered")
    if figure is None or "low" not in figure:
        return "No interval was measured, so nothing can be said about how far off the figure may be."
    most = in_hundred(max(figure["high"], 0.0))
    text = f"With 95 % confidence at most {most} in 100 samples of the student re-identify a person beyond chance"
    least = in_hundred(figure["low"])
    if figure["low"] <= 0:
        text += "; less than that is not ruled out."
    else:
        text += ", and just more than none at least." if least == "0" else f", and at least {least}."
    less = measure(dig(audit, "less_than", "random_drop"))
    if less and "low" in less:
        made = "the filter’s choice made the difference"
        text += (
            f" A student of as many candidates dropped at random gives away {in_hundred(less['value'])} in 100 more"
            f" ({in_hundred(less['low'])} to {in_hundred(less['high'])}): "
            + (f"{made}." if less["low"] > 0 else f"that {made} is not shown.")
        )
    return text


def _power(audit: Mapping[str, Any]) -> str:
    told = []
    power = dig(audit, "arms", "filtered", "reid", "power")
    detectable, words = dig(power, "detectable"), dig(power, "words")
    if isinstance(words, str) and words:
        told.append(f"{words[0].upper()}{words[1:].rstrip('.')}.")
    elif is_number(detectable):
        told.append(f"It would have found a leak of {in_hundred(detectable)} in 100 samples or more, four times of five.")
    else:
        told.append("How small a leak it would have seen was not worked out.")
    able = [
        (measure(dig(audit, "real", key, "excess")), of)
        for key, of in (("member", "the members’ own pictures"), ("round_trip", "them after the teacher’s autoencoder"))
    ]
    shares = [f"{in_hundred(figure['value'])} in 100 of {of}" for figure, of in able if figure]
    if shares:
        weakest = min(figure["value"] for figure, _ in able if figure)
        told.append(
            f"The same attackers recognise {' and '.join(shares)}: "
            + ("the instruments work." if weakest >= 0.5 else "they are weak on such pictures; a leak may have gone unseen.")
        )
    return " ".join(told)


def _worth(audit: Mapping[str, Any]) -> str:
    student, real = (measure(dig(audit, *keys, "utility", "auc")) for keys in (("arms", "filtered"), ("real",)))
    if student is None:
        return ""
    auc = decimal(student["value"])
    text = f"A classifier that learned from the student’s images alone tells real people’s labels apart with AUC {auc}"
    text += " (0.5 is guessing, 1 perfect)"
    text += f"; one that learned from the real images, with {decimal(real['value'])}." if real else "."
    if student.get("low", 1.0) <= 0.5:
        text += " The interval holds 0.5, which is guessing: that the images are of use is not shown."
    return text


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
