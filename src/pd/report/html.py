"""The custodian's report: one self-contained HTML file, with real faces in it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pd.report import words
from pd.report.data import ReportData, dangerous
from pd.report.figures import histogram, steps_path, ticks
from pd.report.pictures import contact_sheet, picture_uri
from pd.report.steps import REASONS, steps
from pd.report.table import audit_table, forest
from pd.store.atomic import write_bytes

SHOWN_SAMPLES = 64
SHOWN_DANGERS = 8
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
    page = environment().get_template("report.html.j2").render(**_context(data))
    write_bytes(out, page.encode())
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


def _context(data: ReportData) -> dict[str, Any]:
    candidates = data.candidates
    kept, dropped = dangerous(candidates.scores, candidates.keep, SHOWN_DANGERS)
    teacher, student = (words.excess(data.audit, arm) for arm in ("teacher", "filtered"))
    return {
        "data": data,
        "headline": words.headline(data.audit),
        "tiles": _tiles(data, teacher, student),
        "steps": steps(data),
        "sheets": [
            (arm, words.ARMS.get(arm, arm), len(data.samples.get(arm, ())), _sheet(data, arm))
            for arm in ("teacher", "filtered")
        ],
        "dangers": [
            ("kept", "Kept, and so in the release", [_danger(data, i) for i in kept]),
            ("dropped", "Dropped by the filter", [_danger(data, i) for i in dropped]),
        ],
        "histogram": histogram(candidates.scores, candidates.keep, data.stranger_scores, data.member_scores, data.threshold),
        "table": audit_table(data.audit),
        "forest": forest(data.audit),
        "drops": _drops(data),
        "shown": SHOWN_SAMPLES,
        "instruments": _instruments(data.audit),
        "settings": yaml.safe_dump(_plain(data.settings), sort_keys=False, allow_unicode=True),
    }


def _sheet(data: ReportData, arm: str) -> str | None:
    return contact_sheet(list(data.samples.get(arm, ()))[:SHOWN_SAMPLES])


def _danger(data: ReportData, row: int) -> dict[str, Any]:
    table = data.candidates
    name, nearest = table.ids[row], table.nearest[row]
    return {
        "id": name,
        "nearest": nearest,
        "score": f"{float(table.scores[row]):.4f}",  # one digit more than the threshold is told in, which it may be close to
        "keep": bool(table.keep[row]),
        "reason": table.reasons[row],
        "image": picture_uri(table.images.get(name)),
        "real": picture_uri(data.real.get(nearest)),
    }


def _tiles(data: ReportData, teacher: Any, student: Any) -> list[tuple[str, str, str]]:
    """(label, figure, note) of the four numbers to read first."""

    def decimals(figure: Mapping[str, float]) -> str:
        return f"{words.percent(figure['low']).removesuffix(' %')} to {words.percent(figure['high'])}"

    def risk(figure: Mapping[str, float] | None) -> tuple[str, str]:
        if figure is None:
            return "–", words.NONE
        note = f"95 % interval {decimals(figure)}" if "low" in figure else "no interval"
        return words.percent(figure["value"]), note

    keep = data.candidates.keep
    utility = [words.measure(words.dig(data.audit, "arms", arm, "utility", "auc")) for arm in ("teacher", "filtered")]
    auc = "–" if utility[1] is None else words.decimal(utility[1]["value"])
    note = words.NONE if utility[1] is None else "AUC on real hold-out images"
    if utility[0] is not None and utility[1] is not None:
        note = f"AUC on real images; the teacher's {words.decimal(utility[0]['value'])}"
    if utility[1] is not None and utility[1].get("low", 1.0) <= 0.5:
        note += "; its interval holds 0.5, which is guessing"
    return [
        ("Excess re-identification, teacher", *risk(teacher)),
        ("Excess re-identification, released student", *risk(student)),
        ("Candidates kept", f"{int(keep.sum()):,}", f"of {len(keep):,}"),
        ("Usefulness of the student", auc, note),
    ]


def _instruments(audit: Mapping[str, Any]) -> dict[str, str]:
    """Whatever else the audit says, outside arms, filter and the table's rows of real images."""
    real = {key: value for key, value in (audit.get("real") or {}).items() if key not in ("utility", "reid", "fidelity")}
    rest = {key: value for key, value in audit.items() if key not in ("arms", "filter", "real")}
    return words.flat({**rest, **({"real": real} if real else {})})


def _drops(data: ReportData) -> list[dict[str, Any]]:
    """What the filter dropped, most frequent reason first: the audit's own counts, else counted from the candidates."""
    counted: dict[str, int] = {}
    for reason, keep in zip(data.candidates.reasons, data.candidates.keep, strict=True):
        if not keep:
            counted[reason] = counted.get(reason, 0) + 1
    found = words.dig(data.audit, "filter", "dropped")
    counts = dict(found) if isinstance(found, Mapping) else counted
    total = max(int(words.dig(data.audit, "filter", "candidates") or len(data.candidates.ids)), 1)
    return [
        {"reason": reason, "words": REASONS.get(reason, ""), "count": count, "share": count / total}
        for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def _plain(value: Any) -> Any:
    """Settings as YAML can write them: paths and other objects as text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
