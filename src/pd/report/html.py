"""The custodian's report, with real faces in it, and the release's, which is made of public figures alone."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pd.report import curves, forests, words
from pd.report.costs import at_chosen, consistency, drops, gini, subgroups
from pd.report.data import ReportData, dangerous
from pd.report.figures import histogram, steps_path, ticks
from pd.report.findings import STATES
from pd.report.labels import labels_section
from pd.report.pictures import contact_sheet, picture_uri
from pd.report.public import public_audit, public_settings
from pd.report.risk import Closest, Risk, at_risk, concentration
from pd.report.steps import steps
from pd.report.sweeps import sweep_chart, sweep_choice
from pd.report.table import audit_table
from pd.report.tiles import tiles
from pd.report.verdict import verdict
from pd.store.atomic import write_bytes

SHOWN_SAMPLES = 64
SHOWN_DANGERS = 8
SHOWN_PEOPLE = 10
_OWN_WORDS = ("arms", "filter", "real", "fingerprints", "verdict", "shared")  # parts of an audit
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


def render_release_report(
    run: str, audit: Mapping[str, Any], settings: Mapping[str, Any], out: Path, created: str = ""
) -> Path:
    """Write the report that goes with a release: no picture, nobody's name, and nothing that is not in its `audit.json`.

    Args:
        run: the run's name, as on the card.
        audit: the audit; only the public part is used.
        settings: the whole settings, as nested plain values; only those that name nothing of this machine are shown.
        out: the file, such as `release/report.html`.
        created: when it was written, as text.

    Returns:
        `out`.
    """
    shown = yaml.safe_dump(public_settings(settings), sort_keys=False, allow_unicode=True)
    page = environment().get_template("release.html.j2")
    nothing = {**dict.fromkeys(("strangers_cost", "subgroups", "own_thresholds", "sweep")), "sweep_choice": ""}
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
    found.filters |= {"percent": words.percent, "decimal": words.decimal, "duration": words.duration}
    found.globals |= {"ticks": ticks, "steps_path": steps_path}
    return found


def _visible(value: Any) -> Any:
    """Text without characters that order, hide or control what stands around them; those become U+FFFD."""
    if not isinstance(value, str):
        return value
    visible = _UNSEEN.sub("\ufffd", value)
    return Markup(visible) if isinstance(value, Markup) else visible


def _shared(run: str, audit: Mapping[str, Any]) -> dict[str, Any]:
    """What both reports show; of `audit` alone."""
    return {
        "run": run,
        "audit": audit,
        "verdict": verdict(audit),
        "states": STATES,
        "headline": words.headline(audit),
        "tiles": tiles(audit),
        "table": audit_table(audit),
        "forest": forests.reidentification(audit),
        "tradeoff": curves.tradeoff(audit),
        "thresholds": curves.threshold_curves(words.dig(audit, "filter", "curves"), _chosen(audit)),
        "near_copies": curves.threshold_curves(
            words.dig(audit, "filter", "near_copy", "curves"),
            _number(audit, "near_copy", "chosen"),
            "near-copies",
        ),
        "at_chosen": at_chosen(audit),
        "other_photos": words.dig(audit, "filter", "at_chosen", "sensitivity", "other_photo") is not None,
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


def _counted(data: ReportData) -> Mapping[str, Any]:
    """The audit; what it does not say of the filter's decisions is counted from the candidates."""
    table = data.candidates
    dropped = Counter(reason for reason, keep in zip(table.reasons, table.keep, strict=True) if not keep)
    counts = {"candidates": len(table.ids), "kept": int(table.keep.sum()), "dropped": dict(dropped)}
    return {**data.audit, "filter": {**counts, **(words.dig(data.audit, "filter") or {})}}


def _private(data: ReportData) -> dict[str, Any]:
    """What only the custodian's report shows; where the audit has no curves or counts, those that the run's scores give."""
    candidates = data.candidates
    closest = Closest.of(data.audit)
    people = at_risk(candidates, data.identity_of, data.threshold)
    return {
        "data": data,
        "steps": steps(data),
        "sheets": [
            (arm, words.ARMS.get(arm, arm), len(data.samples.get(arm, ())), _sheet(data, arm))
            for arm in ("teacher", "filtered", "kept", "condensed")
        ],
        "dangers": _dangers(data, closest),
        "strangers_cost": forests.strangers_cost(data.audit),
        "subgroups": subgroups(data.audit),
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
        "histogram": histogram(candidates.scores, candidates.keep, data.stranger_scores, data.member_scores, data.threshold),
        "own_thresholds": curves.threshold_curves(
            curves.curves_from_scores(candidates, data.stranger_scores, data.member_scores), data.threshold, "own-thresholds"
        ),
        "sweep": sweep_chart(data.sweep),
        "sweep_choice": sweep_choice(data.sweep),
        "shown": SHOWN_SAMPLES,
        "settings": yaml.safe_dump(_plain(data.settings), sort_keys=False, allow_unicode=True),
    }


def _chosen(audit: Mapping[str, Any]) -> float | None:
    """The filter's threshold, by the audit's own account."""
    chosen = _number(audit, "chosen")
    return _number(audit, "threshold") if chosen is None else chosen


def _number(audit: Mapping[str, Any], *keys: str) -> float | None:
    """A figure of the filter."""
    found = words.dig(audit, "filter", *keys)
    return float(found) if words.is_number(found) else None


def _whys(audit: Mapping[str, Any]) -> dict[str, str]:
    """Why an attack was not made, where the audit says so: of the first arm that does."""
    found = {
        name: words.why(audit, *keys) for name, keys in (("fingerprints", ("fingerprints",)), ("cost", ("filter", "cost")))
    }
    found["thresholds"] = words.why(audit, "filter", "curves")
    found["consistency"] = words.why(audit, "filter", "consistency")
    for attack in ("extraction", "membership", "attributes"):
        told = (words.why(audit, "arms", arm, attack) for arm in forests.arms_of(audit))
        found[attack] = next(filter(None, told), "")
    return found


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
    worst = words.dig(data.audit, "filter", "cost", "by_identity", "worst")
    rates = {str(row[0]): words.measure(row[1]) for row in worst or () if isinstance(row, list) and len(row) == 2}
    rate = rates.get(one.identity)
    return {
        "identity": one.identity,
        "picture": picture_uri(data.real.get(one.image), 64),
        "candidates": one.candidates,
        "taken": one.taken,
        "kept": one.kept,
        "closest": "none" if one.closest is None else f"{one.closest:.4f}",
        "rate": None if rate is None else words.percent(rate["value"]),
    }


def _instruments(audit: Mapping[str, Any]) -> dict[str, str]:
    """Whatever else the audit says, outside of what the page shows in its own words."""
    real = {key: value for key, value in (audit.get("real") or {}).items() if key not in ("utility", "reid", "fidelity")}
    rest = {key: value for key, value in audit.items() if key not in _OWN_WORDS}
    return words.flat({**rest, **({"real": real} if real else {})})


def _plain(value: Any) -> Any:
    """Settings as YAML can write them: paths and other objects as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
