"""The report's curves: what another threshold would do, what the filter buys, and how repetition breeds memory."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from pd.audit.figures import measured
from pd.audit.results import AuditResult, Curves
from pd.report.data import Candidates, Scores
from pd.report.figures import ticks
from pd.report.forests import SHORT, arms_of, kept_share, kind_of
from pd.report.formatting import decimal, excess, percent
from pd.report.plots import Chart, Line, Mark, Stop, interval

KINDS = {
    "member": "members' own images",
    "jittered": "jittered copies",
    "round_trip": "round trips",
    "other_photo": "other photos of members",
}
"""Plain words for the kinds of planted leaks."""
_LOOKS = ("member", "jittered", "round-trip", "other-photo", "teacher", "released", "other", "unfiltered")
_VIEWS_TITLE = "Sensitivity to members at low resolution, half hidden and shifted, and specificity, over the filter's threshold"
_STOPS = 60
_APART = 0.012
_FRACTIONS = (0.0, 1.0)


def curves_from_scores(candidates: Candidates, strangers: Scores, members: Scores, steps: int = 120) -> Curves | None:
    """What `filter.curves` of an audit would say, as far as the run's own scores know: re-identification alone.

    Args:
        candidates: their likeness to the nearest member.
        strangers: (S,) of hold-out images; the threshold was chosen on these, so that their curve flatters a little.
        members: (M,) of each member image to the nearest other member image.
        steps: thresholds.
    """
    groups = [np.sort(np.asarray(group, np.float64)[np.isfinite(group)]) for group in (candidates.scores, strangers, members)]
    if not all(map(len, groups)):
        return None
    everything = np.concatenate(groups)
    thresholds = np.linspace(float(np.quantile(everything, 0.005)), float(everything.max()), steps)
    below = [np.searchsorted(group, thresholds, side="left") / len(group) for group in groups]
    return Curves(
        thresholds=thresholds.tolist(),
        kept=below[0].tolist(),
        specificity=below[1].tolist(),
        sensitivity={"other_photo": (1 - below[2]).tolist()},
    )


def view_curves(curves: Curves | None, chosen: float | None, name: str = "views") -> Chart | None:
    """The same as `threshold_curves` for members at low resolution, half hidden and shifted; None without such."""
    seen = {} if curves is None else {kind: values for kind, values in curves.sensitivity.items() if kind not in KINDS}
    if curves is None or not seen:
        return None
    chart = threshold_curves(curves.model_copy(update={"sensitivity": {}, "kept": []}), chosen, name, seen)
    return None if chart is None else replace(chart, title=_VIEWS_TITLE)


def threshold_curves(
    curves: Curves | None,
    chosen: float | None,
    name: str = "thresholds",
    others: Mapping[str, list[float]] | None = None,
) -> Chart | None:
    """Sensitivity by kind of leak, specificity and share kept over the threshold; None without curves.

    Args:
        curves: of a detector.
        chosen: the threshold in use.
        name: see `Chart`.
        others: sensitivity to further kinds, which have no colour of their own.
    """
    if curves is None:
        return None
    at = curves.thresholds
    series = [(f"caught: {KINDS[kind]}", _kind(kind), values) for kind, values in curves.sensitivity.items() if kind in KINDS]
    series += [(f"caught: {kind}", _LOOKS[k % len(_LOOKS)], values) for k, (kind, values) in enumerate((others or {}).items())]
    series += [("strangers let pass", "specificity", curves.specificity), ("candidates kept", "share", curves.kept)]
    lines = [Line(label, kind, list(zip(at, values, strict=True))) for label, kind, values in series if len(values) == len(at)]
    if len(at) < 2 or not lines:
        return None
    low, high = min(at), max(at)
    if chosen is not None:
        low, high = min(low, chosen), max(high, chosen)
    every = max(1, -(-len(at) // _STOPS))
    rows = [[decimal(at[i]), *(percent(line.points[i][1]) for line in lines)] for i in range(0, len(at), every)]
    stops = [
        Stop(at[i], [f"threshold {decimal(at[i])}", *(f"{line.label} {percent(line.points[i][1])}" for line in lines)])
        for i in range(0, len(at), every)
    ]
    return Chart(
        name,
        "Sensitivity by kind of planted leak, specificity and share of candidates kept, over the filter's threshold",
        "threshold of likeness (to the left: stricter)",
        "share",
        (low, high),
        _FRACTIONS,
        _ticks(low, high, 8),
        [(y, percent(y, 0)) for y in ticks(*_FRACTIONS, 5)],
        lines,
        stops=stops,
        at=None if chosen is None else (chosen, f"in use: {decimal(chosen)}"),
        columns=["Threshold", *(line.label.capitalize() for line in lines)],
        rows=rows,
    )


def tradeoff(audit: AuditResult) -> Chart | None:
    """Excess re-identification over the share of candidates that a model learned from, or that are released, an arm a point."""
    share = kept_share(audit)
    at = {"teacher": 1.0, "early": 1.0, "unfiltered": 1.0, "filtered": share, "kept": share, "random_drop": share}
    marks: list[Mark] = []
    rows = []
    places: list[float] = []
    for arm in arms_of(audit):
        x, figure = at.get(arm), excess(audit, arm)
        if x is None or figure is None:
            continue
        beside = _APART * sum(abs(place - x) < _APART / 2 for place in places)  # or one whisker would hide the other
        places.append(x)
        words = [
            SHORT.get(arm, arm),
            f"excess {percent(figure.value)}",
            f"({percent(figure.low)} to {percent(figure.high)})",
            f"kept {percent(x)}",
        ]
        place = (x - beside, figure.value, figure.low, figure.high)
        marks.append(Mark(SHORT.get(arm, arm), kind_of(arm), *place, words, beside > 0))
        rows.append([SHORT.get(arm, arm), percent(x), percent(figure.value), words[2].strip("()")])
    if len(marks) < 2:
        return None
    top = max(0.05, *(mark.high for mark in marks)) * 1.05
    low = min(0.0, *(mark.low for mark in marks))
    return Chart(
        "tradeoff",
        "Excess re-identification of each model, and of the released data, over the share of candidates behind it",
        "share of candidates kept",
        "excess re-identification",
        (0.0, 1.04),
        (low, top),
        [(x, percent(x, 0)) for x in ticks(0, 1, 5)],
        [(y, percent(y, 0 if top >= 0.1 else 1)) for y in ticks(low, top, 5)],
        marks=marks,
        columns=["Arm", "Kept", "Excess", "95 % interval"],
        rows=rows,
    )


def dose_response(audit: AuditResult) -> Chart | None:
    """Share of planted canaries that teacher and student reproduce, over how often each was planted."""
    planted = measured(audit.fingerprints)
    if planted is None or len(planted.repetitions) < 2:
        return None
    repetitions = planted.repetitions
    at = [math.log2(repeated) for repeated in repetitions]
    lines, marks, told = [], [], []
    stops = [
        Stop(x, [f"{repeated:g} {'copy' if repeated == 1 else 'copies'}"]) for x, repeated in zip(at, repetitions, strict=True)
    ]
    for who, kind, found in (("teacher", "teacher", planted.teacher), ("student", "released", planted.student)):
        rows = [interval(who, kind, entry) for entry in found]
        if len(rows) != len(repetitions):
            continue
        lines.append(Line(who, kind, [(x, row.value) for x, row in zip(at, rows, strict=True) if row]))
        # Both may lie in one place: the stops tell them.
        marks += [Mark("", kind, x, row.value, row.low, row.high, ()) for x, row in zip(at, rows, strict=True) if row]
        stops = [
            Stop(stop.x, [*stop.words, f"{who} {row.words}" if row else f"{who} not measured"])
            for stop, row in zip(stops, rows, strict=True)
        ]
        told.append([who.capitalize(), *(row.text if row else "–" for row in rows)])
    if not lines:
        return None
    top = 1.05 * max(0.05, *(mark.high for mark in marks))
    return Chart(
        "fingerprints",
        "Share of planted canaries reproduced by teacher and student, over the number of training images that carried one",
        "training images that carry the canary",
        "share of samples with the canary",
        (at[0] - 0.2, at[-1] + 0.2),
        (0.0, top),
        [(x, f"{repeated:g}") for x, repeated in zip(at, repetitions, strict=True)],
        [(y, percent(y, 0 if top >= 0.1 else 1)) for y in ticks(0, top, 4)],
        lines,
        marks,
        stops,
        columns=["Model", *(f"{repeated:g}" for repeated in repetitions)],
        rows=told,
    )


FEW = {
    "real": ("real images alone", "teacher"),
    "reverse": ("with unlabelled synthetic images", "other"),
    "both": ("with labelled synthetic images", "released"),
}
"""What a recipient with few labels learns from, in words, and the kind of line."""


def few_labels(audit: AuditResult) -> Chart | None:
    """What a recipient with n real labels gains from the release."""
    found = measured(audit.few_labels)
    if found is None:
        return None
    at = [math.log2(n) for n in found.sizes]
    lines, marks, told = [], [], []
    stops = [Stop(x, [f"{n} real labels"]) for x, n in zip(at, found.sizes, strict=True)]
    for name, (words, kind) in FEW.items():
        rows = [row for one in found.curves[name] if (row := interval(words, kind, one, "decimal"))]
        lines.append(Line(words, kind, [(x, row.value) for x, row in zip(at, rows, strict=True)]))
        marks += [Mark("", kind, x, row.value, row.low, row.high, ()) for x, row in zip(at, rows, strict=True)]
        stops = [Stop(stop.x, [*stop.words, f"{words} {row.words}"]) for stop, row in zip(stops, rows, strict=True)]
        told.append([words.capitalize(), *(row.words for row in rows)])
    alone = interval("synthetic", "other", found.synthetic, "decimal")
    told.append(["Labelled synthetic images, no real label", *([alone.words if alone else "–"] * len(at))])
    low = min(0.5, found.synthetic.low, *(mark.low for mark in marks))
    return Chart(
        "few-labels",
        f"AUC of {found.label} on real hold-out people, over the number of real labels that a recipient has",
        "real labels of the recipient's own",
        "AUC on real hold-out people (0.5: guessing)",
        (at[0] - 0.2, at[-1] + 0.2),
        (low, 1.02),
        [(x, f"{n}") for x, n in zip(at, found.sizes, strict=True)],
        _ticks(low, 1.0, 5),
        lines,
        marks,
        stops,
        columns=["Learned from", *(f"{n}" for n in found.sizes)],
        rows=told,
    )


def _kind(kind: str) -> str:
    return kind.replace("_", "-") if kind in KINDS else "other"


def _ticks(low: float, high: float, wanted: int) -> list[tuple[float, str]]:
    return [(x, decimal(x, 2)) for x in ticks(low, high, wanted)]
