"""The audit's verdict in plain words: what leaks, how sure that is, and whether the audit could have seen it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pd.audit.estimate import Estimate
from pd.audit.figures import WITHHELD, measured
from pd.audit.judged import Finding, State, Verdict
from pd.audit.results import ArmResult, AuditResult
from pd.report.curves import KINDS
from pd.report.findings import findings_of, released_in, worst
from pd.report.formatting import decimal, excess, excess_of, in_hundred, usefulness


def verdict(audit: AuditResult) -> Verdict:
    """Weigh an audit; what is missing counts as not known, never as safe.

    A released audit holds the verdict that was made from all figures, of which it lacks some: that one stands.
    """
    if audit.verdict is not None:
        return audit.verdict
    findings = list(findings_of(audit))
    state, title = _title(audit, findings)
    lines = [
        ("How sure?", _sure(audit)),
        ("Could the audit have seen it?", _power(audit)),
        ("What is it worth?", _worth(audit)),
    ]
    return Verdict(state, title, [(heading, text) for heading, text in lines if text], findings)


def published(whole: Verdict, public: Verdict) -> Verdict:
    """The verdict on all figures, without the words of those that may not be published; its states and title stay.

    Args:
        whole: made from all figures.
        public: what the public figures alone would give: words that both have tell nothing else.
    """
    lines = dict(public.lines)
    findings = []
    for mine, theirs in zip(whole.findings, public.findings, strict=True):
        told = [
            replace(
                one,
                answer=one.answer if one.answer == other.answer else WITHHELD,
                sure=one.sure if one.answer == other.answer and one.sure == other.sure else "",
            )
            for one, other in zip(mine.told, theirs.told, strict=True)
        ]
        teacher = mine.teacher if mine.teacher in ("", theirs.teacher) else WITHHELD
        findings.append(replace(mine, told=told, teacher=teacher))
    kept = [(heading, text if text == lines.get(heading) else f"{WITHHELD.capitalize()}.") for heading, text in whole.lines]
    return Verdict(whole.state, whole.title, kept, findings)


def _title(audit: AuditResult, findings: Sequence[Finding]) -> tuple[State, str]:
    """Of the student and the data, each judged by itself; the worse comes first, and its state is that of both."""
    judged = [_Judged.of(audit.arms.get(arm), who, findings) for arm, who in released_in(audit).items()]
    state = worst(one.state for one in judged)
    told = [one.words for one in sorted(judged, key=lambda one: one.state != state) if one.state != "clear"]
    clear = [one for one in judged if one.state == "clear"]
    if clear:
        told.append("no leak is shown " + ", nor ".join(one.words for one in clear))
    high = max((one.high for one in clear), default=0.0)
    if state in ("clear", "unknown") and high > 0:
        told.append(f"re-identification in up to {in_hundred(high)} in 100 samples is not ruled out")
    text = "; ".join(told)
    return state, f"{text[0].upper()}{text[1:]}."


def state_of(audit: AuditResult, arm: str) -> State:
    """The state of one released thing by itself, over all attacks."""
    return _Judged.of(audit.arms.get(arm), released_in(audit).get(arm, arm), list(findings_of(audit))).state


@dataclass(frozen=True)
class _Judged:
    """One released thing over all attacks: what it gives away in words, and where the interval of its excess ends."""

    state: State
    words: str
    high: float

    @classmethod
    def of(cls, arm: ArmResult | None, who: str, findings: Sequence[Finding]) -> "_Judged":
        told = [(finding.attack, one.state) for finding in findings for one in finding.told if one.who == who]
        found, perhaps, made = (
            [attack.lower() for attack, state in told if state == wanted and (wanted != "clear" or attack != "Fingerprints")]
            for wanted in ("leak", "borderline", "clear")
        )
        figure = excess_of(arm) if arm else None
        high = figure.high if figure else 0.0
        give, was, it = ("give", "were", "they") if who == "data" else ("gives", "was", "it")
        if found:
            also = f", and perhaps by {_and(perhaps)}" if perhaps else ""
            return cls("leak", f"the released {who} still {give} people away: by {_and(found)}{also}", high)
        if perhaps:
            words = f"the released {who} may give people away, by {_and(perhaps)}: only just more than chance gives"
            return cls("borderline", words, high)
        if arm is None:
            return cls("unknown", f"the released {who} {was} not audited", high)
        if "re-identification" not in made:
            because = "the interval is too wide to tell" if figure else f"{it} {was} not attacked"
            if figure and arm.reid and arm.reid.says_nothing:
                because = "the pictures are less like real people than strangers are"
            return cls("unknown", f"it is not known what the released {who} {give} away: {because}", high)
        if arm.reid and arm.reid.power and arm.reid.power.blind:
            words = f"no leak is shown in the released {who}, but so small an audit could not have seen one"
            return cls("unknown", words, high)
        attacks = "the one attack that could tell" if len(made) == 1 else f"{len(made)} kinds of attack"
        return cls("clear", f"in the released {who} by {attacks}", high)


def _sure(audit: AuditResult) -> str:
    known = [(who, figure) for arm, who in released_in(audit).items() if (figure := excess(audit, arm))]
    if not known:
        return "No interval was measured, so nothing can be said about how far off the figure may be."
    text = " ".join(_most(who, figure, first=at == 0) for at, (who, figure) in enumerate(known))
    if less := audit.less_than.get("random_drop"):
        made = "the filter’s choice made the difference"
        text += (
            f" A student of as many candidates dropped at random gives away {in_hundred(less.value)} in 100 more than"
            f" the released one ({in_hundred(less.low)} to {in_hundred(less.high)}): "
            + (f"{made}." if less.low > 0 else f"that {made} is not shown.")
        )
    return text


def _most(who: str, figure: Estimate, first: bool) -> str:
    most, least = in_hundred(max(figure.high, 0.0)), in_hundred(figure.low)
    samples = (
        f"With 95 % confidence at most {most} in 100 samples of the {who} re-identify a person beyond chance, by any attacker"
    )
    text = samples if first else f"Of the {who}, at most {most} in 100 do"
    if figure.low <= 0:
        return f"{text}; less than that is not ruled out."
    return text + (", and just more than none at least." if least == "0" else f", and at least {least}.")


def _power(audit: AuditResult) -> str:
    told = []
    student, data = (audit.arms[arm].reid if arm in audit.arms else None for arm in ("filtered", "kept"))
    words = student.power.words if student and student.power else None
    if words:
        told.append(f"{words[0].upper()}{words[1:].rstrip('.')}.")
    else:
        told.append("How small a leak it would have seen was not worked out.")
    power = data.power if data else None
    if power and power.blind:
        told.append("In the released data it could have seen no leak.")
    elif power and power.planted is not None:
        told.append(f"In the released data it would have found copies from {in_hundred(power.planted)} in 100 on.")
    told += _missed(audit)
    able = [
        (found.excess, of)
        for found, of in (
            (audit.real.member if audit.real else None, "the members’ own pictures"),
            (audit.real.round_trip if audit.real else None, "them after the teacher’s autoencoder"),
        )
        if found and found.excess
    ]
    if able:
        shares = [f"{in_hundred(figure.value)} in 100 of {of}" for figure, of in able]
        weakest = min(figure.value for figure, _ in able)
        told.append(
            f"The same attackers recognise {' and '.join(shares)}: "
            + ("the instruments work." if weakest >= 0.5 else "they are weak on such pictures; a leak may have gone unseen.")
        )
    asked = measured(audit.arms["filtered"].membership) if "filtered" in audit.arms else None
    loss, ratio = (measured(asked.loss), measured(asked.likelihood_ratio)) if asked else (None, None)
    if loss and loss.auc and not (ratio and ratio.auc):
        told.append(
            "Whose pictures were used in training was asked of the loss alone, which misses much; shadow models (audit.shadows)"
            " may tell."
        )
    return " ".join(told)


_CAUGHT = 0.95  # of planted copies: what is caught less surely is named


def _missed(audit: AuditResult) -> list[str]:
    """Which disguised copies would have been missed, by the audit and by the filter; nothing where it was not tried."""
    at_chosen = audit.filter.at_chosen if audit.filter else None
    told = [
        missed_words("The audit", audit.real.planted if audit.real else {}),
        missed_words("The filter", at_chosen.sensitivity if at_chosen else {}),
    ]
    return [words for words in told if words]


def missed_words(who: str, tried: Mapping[str, Estimate]) -> str:
    """Which disguised copies are caught less than 95 times in 100; empty where there are none.

    Args:
        who: catches them, at the beginning of a sentence.
        tried: kind of planted leak -> the share that was caught.
    """
    missed = [
        f"{kind.replace('_', ' ')} ({in_hundred(one.value)})"
        for kind, one in tried.items()
        if kind not in KINDS and one.value < _CAUGHT
    ]
    if not missed:
        return ""
    return f"{who} does not surely catch copies that are {_and(missed)}: so many of 100 planted ones were caught."


def _worth(audit: AuditResult) -> str:
    student, data, real = (usefulness(one) for one in (audit.arms.get("filtered"), audit.arms.get("kept"), audit.real))
    if student is None:
        return ""
    auc = decimal(student.value)
    text = f"A classifier that learned from the student’s images alone tells real people’s labels apart with AUC {auc}"
    text += " (0.5 is guessing, 1 perfect)"
    text += f"; one that learned from the released data, with {decimal(data.value)}" if data else ""
    text += f"; one that learned from the real images, with {decimal(real.value)}." if real else "."
    unsure = [f"the {who}’s" for who, figure in (("student", student), ("data", data)) if figure and figure.low <= 0.5]
    if unsure:
        holds = "intervals hold" if len(unsure) > 1 else "interval holds"
        text += f" {_and(unsure).capitalize()} {holds} 0.5, which is guessing: that the images are of use is not shown."
    return text


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
