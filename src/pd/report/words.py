"""Figures of an audit in words and numbers that people read."""

import math
from collections.abc import Mapping
from typing import Any

ARMS = {
    "teacher": "Teacher",
    "filtered": "Filtered student (released)",
    "kept": "Kept candidates (released data)",
    "condensed": "Condensed set",
    "random_drop": "Random-drop student",
    "unfiltered": "Unfiltered student",
}
NONE = "not measured"
WITHHELD = "withheld"
"""Stands in what is released for words that tell a figure, or the name of a label, that is not."""
_WHO = {
    "teacher": ("the teacher", "the teacher was not audited, so nothing can be compared"),
    "filtered": ("the released student", "the released student was not audited, so nothing is known about it"),
    "kept": ("the released data", "the released data were not audited, so nothing is known about them"),
}


def is_number(value: object) -> bool:
    """A finite number; booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def dig(tree: Any, *keys: str) -> Any:
    """A value deep in nested mappings; None when any step of the way is missing."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def measure(value: Any) -> dict[str, float] | None:
    """Value and, where there are both, low and high, of an audit entry or a bare number; None without a value."""
    if is_number(value):
        return {"value": float(value)}
    number = dig(value, "value")
    if not is_number(number):
        return None
    ends = {end: float(value[end]) for end in ("low", "high") if is_number(value.get(end))}
    return {"value": float(number), **(ends if len(ends) == 2 else {})}


def why(tree: Any, *keys: str) -> str:
    """Why there is no figure, where the audit says so instead of giving one; else nothing."""
    found = dig(tree, *keys, "why")
    return found if isinstance(found, str) else ""


def percent(value: float, digits: int = 1) -> str:
    """0.643 -> '64.3 %', with a proper minus."""
    return f"{_signed(100 * value, digits)} %"


def decimal(value: float, digits: int = 3) -> str:
    """0.8712 -> '0.871', with a proper minus; large numbers lose decimals they do not earn."""
    return _signed(value, 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else digits)


def in_hundred(value: float) -> str:
    """0.643 -> '64', 0.034 -> '3.4': samples in a hundred."""
    scaled = 100 * value
    return _signed(scaled, 0 if abs(scaled) >= 9.95 or abs(scaled - round(scaled)) < 0.05 else 1)


def _signed(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def duration(seconds: float) -> str:
    """75 -> '1 min 15 s'."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def excess(audit: Mapping[str, Any], arm: str) -> dict[str, float] | None:
    """Excess re-identification of an arm by its worst attacker; `high` is the highest of all attackers'."""
    return measure(dig(audit, "arms", arm, "reid", "excess"))


def headline(audit: Mapping[str, Any]) -> str:
    """The verdict in one sentence.

    The figure is excess re-identification (main rate less control rate), so 'beyond chance' is a difference in samples
    of a hundred, not a ratio.
    """
    known = [(who, figure) for arm, (who, _) in _WHO.items() if (figure := excess(audit, arm))]
    if not known:
        return "Nothing can be said about re-identification: neither the teacher nor what is released was audited."
    told = [_of(who, figure, first=at == 0) for at, (who, figure) in enumerate(known)]
    return "; ".join([*told, *(missing for arm, (_, missing) in _WHO.items() if excess(audit, arm) is None)]) + "."


def _of(who: str, figure: Mapping[str, float], first: bool = True) -> str:
    """'Beyond chance, 64 in 100 samples of the teacher re-identify a person (95 % interval 62 to 67)'."""
    interval, covers = "", False
    if "low" in figure:
        covers = figure["low"] <= 0
        interval = f" (95 % interval {in_hundred(figure['low'])} to {in_hundred(figure['high'])})"
    if figure["value"] <= 0:
        text = f"samples of {who} re-identify people no more often than chance would{interval}"
        return text[0].upper() + text[1:] if first else text
    end = ", which chance alone could explain" if covers else ""
    count = in_hundred(figure["value"])
    if first:
        return f"Beyond what chance gives, {count} in 100 samples of {who} re-identify a person{interval}{end}"
    whose = who if who.endswith("data") else f"{who}'s"
    return f"of {whose}, {count} in 100 do{interval}{end}"


def fidelity_label(key: str, value: Any) -> str:
    """'FID, EfficientNet-Lite0 features': a distance is never named without its features."""
    features = dig(value, "features") or dig(value, "extractor")
    name = key.upper() if key.lower() in ("fid", "kid") else key
    if features and str(features).lower() not in name.lower():
        return f"{name}, {features}" + ("" if "feature" in str(features).lower() else " features")
    return name


def flat(tree: Any, prefix: str = "") -> dict[str, str]:
    """Nested mappings as `{'a · b': text}`; measures with their intervals, numbers rounded."""
    lines: dict[str, str] = {}
    for key, value in tree.items() if isinstance(tree, Mapping) else ():
        name = f"{prefix}{key}".replace("_", " ")
        figure = measure(value)
        if figure is not None:
            text = f"{value:,}" if isinstance(value, int) else decimal(figure["value"])
            ends = f" ({decimal(figure['low'])} to {decimal(figure['high'])})" if "low" in figure else ""
            lines[name] = text + ends
        elif isinstance(value, Mapping):
            lines.update(flat(value, f"{name} · "))
        elif value is not None:
            lines[name] = str(value)
    return lines
