"""The custodian's report, with real faces in it, and the release's, which is made of public figures alone."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pd.audit.figures import measured, why_not
from pd.audit.results import AuditResult, Closest, FilterResult
from pd.config import Settings
from pd.report import curves, forests, formatting
from pd.report.costs import at_chosen, consistency, drops, gini, subgroups
from pd.report.data import ReportData, dangerous
from pd.report.figures import histogram, steps_path, ticks
from pd.report.findings import STATES
from pd.report.history import steps
from pd.report.labels import labels_section
from pd.report.pictures import contact_sheet, picture_uri
from pd.report.public import public_audit, public_settings
from pd.report.risk import Risk, at_risk, concentration
from pd.report.sweeps import sweep_chart, sweep_choice
from pd.report.table import audit_table
from pd.report.tiles import tiles
from pd.report.verdict import verdict
from pd.store.atomic import write_bytes

SHOWN_SAMPLES = 64
SHOWN_DANGERS = 8
SHOWN_PHRASES = 40
SHOWN_PEOPLE = 10
# Control characters but tab and newline; marks of direction (Unicode's Bidi_Control); half characters, which no file can hold.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def render_report(data: ReportData, out: Path) -> Path:
    """Write the report to `out`; it asks for no other file, runs no script and lets the browser fetch nothing.

    Args:
        data: the run, as plain arrays and mappings.
        out: the file, such as `private/report.html`.

    Returns:
        `out`.
    """
    page = environment().get_template("report.html.j2").render(**_shared(data.run, _counted(data)), **_private(data))
    write_bytes(out, page.encode())
    return out


def render_release_report(run: str, audit: AuditResult, settings: Settings, out: Path, created: str = "") -> Path:
    """Write the report that goes with a release: no picture, nobody's name, and nothing that is not in its `audit.json`.

    Args:
        run: the run's name, as on the card.
        audit: the audit; only the public part is used.
        settings: the whole settings; only those that name nothing of this machine are shown.
        out: the file, such as `release/report.html`.
        created: when it was written, as text.

    Returns:
        `out`.
    """
    shown = yaml.safe_dump(public_settings(settings), sort_keys=False, allow_unicode=True)
    page = environment().get_template("release.html.j2")
    nothing = {
        **dict.fromkeys(("strangers_cost", "subgroups", "few_labels", "own_thresholds", "sweep")),
        "sweep_choice": "",
        "few_why": "",
    }
    write_bytes(out, page.render(**_shared(run, public_audit(audit)), **nothing, settings=shown, created=created).encode())
    return out


def environment(autoescape: bool = True) -> Environment:
    """Jinja2 as pd uses it: everything from data is escaped, and a missing variable is an error."""
    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=autoescape,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"percent": formatting.percent, "decimal": formatting.decimal, "duration": formatting.duration}
    found.globals |= {"ticks": ticks, "steps_path": steps_path}
    return found


def _visible(value: Any) -> Any:
    """Text without characters that order, hide or control what stands around them; those become U+FFFD."""
    if not isinstance(value, str):
        return value
    visible = _UNSEEN.sub("\ufffd", value)
    return Markup(visible) if isinstance(value, Markup) else visible


def _shared(run: str, audit: AuditResult) -> dict[str, Any]:
    """What both reports show; of `audit` alone."""
    found = audit.filter or FilterResult()
    near_copy, at_point = found.near_copy, found.at_chosen
    return {
        "run": run,
        "verdict": verdict(audit),
        "states": STATES,
        "headline": formatting.headline(audit),
        "tiles": tiles(audit),
        "table": audit_table(audit),
        "strong": formatting.strong(audit),
        "forest": forests.reidentification(audit),
        "tradeoff": curves.tradeoff(audit),
        "thresholds": curves.threshold_curves(
            measured(found.curves), found.threshold if found.chosen is None else found.chosen
        ),
        "views": curves.view_curves(measured(found.curves), found.threshold if found.chosen is None else found.chosen),
        "near_copies": curves.threshold_curves(near_copy.curves, near_copy.chosen, "near-copies") if near_copy else None,
        "at_chosen": at_chosen(at_point),
        "other_photos": bool(at_point and "other_photo" in at_point.sensitivity),
        "consistency": consistency(audit),
        "cost": forests.cost(audit),
        "gini": gini(audit),
        "drops": drops(audit),
        "extraction": forests.extraction(audit),
        "membership": forests.membership(audit),
        "attributes": forests.attributes(audit),
        "fingerprints": curves.dose_response(audit),
        "whys": _whys(audit),
        "instruments": _instruments(audit),
    }


def _few_synthetic(audit: AuditResult) -> str:
    found = measured(audit.few_labels)
    return formatting.decimal(found.synthetic.value) if found else ""


def _counted(data: ReportData) -> AuditResult:
    """The audit; what it does not say of the filter's decisions is counted from the candidates."""
    table = data.candidates
    dropped = Counter(reason for reason, keep in zip(table.reasons, table.keep, strict=True) if not keep)
    counts = FilterResult(candidates=len(table.ids), kept=int(table.keep.sum()), dropped=dict(dropped))
    told = {name: getattr(data.audit.filter, name) for name in data.audit.filter.model_fields_set} if data.audit.filter else {}
    return data.audit.model_copy(update={"filter": counts.model_copy(update=told)})


def _private(data: ReportData) -> dict[str, Any]:
    """What only the custodian's report shows; where the audit has no curves or counts, those that the run's scores give."""
    candidates = data.candidates
    closest = data.audit.arms["kept"].closest if "kept" in data.audit.arms else None
    people = at_risk(candidates, data.identity_of, data.threshold)
    return {
        "data": data,
        "steps": steps(data),
        "sheets": [
            (arm, formatting.ARMS.get(arm, arm), len(data.samples.get(arm, ())), _sheet(data, arm))
            for arm in ("teacher", "filtered", "kept", "condensed")
        ],
        "dangers": _dangers(data, closest),
        "strangers_cost": forests.strangers_cost(data.audit),
        "subgroups": subgroups(data.audit),
        "few_labels": curves.few_labels(data.audit),
        "few_why": why_not(data.audit.few_labels),
        "few_synthetic": _few_synthetic(data.audit),
        "people": [_person(data, one) for one in people[:SHOWN_PEOPLE]],
        "closest": closest,
        "closest_people": [
            {
                "identity": identity,
                "picture": picture_uri(data.real.get(image), 64),
                "taken": taken,
                "likeness": f"{likeness:.4f}",
            }
            for identity, taken, likeness, image in (closest.people if closest else ())
        ],
        "concentration": concentration(people),
        "labels": labels_section(data),
        "said": data.said,
        "said_nothing": data.said.prompts.count(data.settings.data.generic) if data.said else 0,
        "phrases": SHOWN_PHRASES,
        "histogram": histogram(candidates.scores, candidates.keep, data.stranger_scores, data.member_scores, data.threshold),
        "own_thresholds": curves.threshold_curves(
            curves.curves_from_scores(candidates, data.stranger_scores, data.member_scores), data.threshold, "own-thresholds"
        ),
        "sweep": sweep_chart(data.sweep),
        "sweep_choice": sweep_choice(data.sweep),
        "shown": SHOWN_SAMPLES,
        "settings": yaml.safe_dump(data.settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
    }


def _whys(audit: AuditResult) -> dict[str, str]:
    """Why an attack was not made, where the audit says so: of the first arm that does."""
    of_filter = audit.filter or FilterResult()
    arms = [audit.arms[arm] for arm in forests.arms_of(audit)]
    return {
        "fingerprints": why_not(audit.fingerprints),
        "cost": why_not(of_filter.cost),
        "thresholds": why_not(of_filter.curves),
        "consistency": why_not(of_filter.consistency),
        **{
            attack: next(filter(None, (why_not(getattr(arm, attack)) for arm in arms)), "")
            for attack in ("extraction", "membership", "attributes")
        },
    }


def _sheet(data: ReportData, arm: str) -> str | None:
    return contact_sheet(list(data.samples.get(arm, ()))[:SHOWN_SAMPLES])


def _dangers(data: ReportData, closest: Closest | None) -> list[dict[str, Any]]:
    """Rows of pictures, each with the measure that it was chosen by."""
    table = data.candidates
    kept, dropped = dangerous(table.scores, table.keep, SHOWN_DANGERS)
    ranked = {
        kind: [_danger(data, table.ids[i], table.nearest[i], float(table.scores[i]), table.reasons[i]) for i in rows]
        for kind, rows in (("kept", kept), ("dropped", dropped))
    }
    by_filter = {
        "kind": "dropped",
        "title": "Dropped by the filter",
        "measure": "Chosen by the likeness that the filter's own network gives.",
        "rows": ranked["dropped"],
    }
    if closest is None:
        blind = (
            "Chosen by the likeness that the filter's own network gives, which shows nothing of what it is blind to. An audit "
            "with kept in audit.arms has attackers choose."
        )
        return [{"kind": "kept", "title": "Kept, and so in the release", "measure": blind, "rows": ranked["kept"]}, by_filter]
    looked = f"of the {closest.samples:,} kept candidates that the audit attacked"
    return [
        {
            "kind": "kept",
            "title": "Kept, and so in the release: by an attacker",
            "measure": f"Those most like a member to {closest.attacker}, the attacker that finds most, {looked}. It "
            "had no part in the filter.",
            "rows": [_danger(data, *row) for row in closest.by_attacker],
        },
        {
            "kind": "kept",
            "title": "Kept, and so in the release: by pixels",
            "measure": f"Those nearest to a member's picture by the distance that finds copies, {looked}: 1 is the same "
            "picture, about 0 any other.",
            "rows": [_danger(data, *row) for row in closest.by_pixels],
        },
        by_filter,
    ]


def _danger(data: ReportData, name: str, nearest: str, score: float, reason: str = "") -> dict[str, Any]:
    return {
        "id": name,
        "nearest": nearest,
        "score": f"{score:.4f}",  # one digit more than the threshold is told in, which it may be close to
        "reason": reason,
        "image": picture_uri(data.candidates.images.get(name)),
        "real": picture_uri(data.real.get(nearest)),
    }


def _person(data: ReportData, one: Risk) -> dict[str, Any]:
    cost = measured(data.audit.filter.cost) if data.audit.filter else None
    rate = dict(cost.by_identity.worst).get(one.identity) if cost and cost.by_identity else None
    return {
        "identity": one.identity,
        "picture": picture_uri(data.real.get(one.image), 64),
        "candidates": one.candidates,
        "taken": one.taken,
        "kept": one.kept,
        "closest": "none" if one.closest is None else f"{one.closest:.4f}",
        "rate": None if rate is None else formatting.percent(rate.value),
    }


def _instruments(audit: AuditResult) -> dict[str, str]:
    """What the audit says outside of what the page shows in its own words."""
    shown: dict[str, object] = {"less_than": audit.less_than}
    if audit.real:
        told = audit.real.model_fields_set - {"utility", "fidelity"}
        shown["real"] = {name: getattr(audit.real, name) for name in told}
    return formatting.flat({**shown, "images": audit.images})
