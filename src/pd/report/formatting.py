"""Figures of an audit in words and numbers that people read."""

import math
from collections.abc import Iterator, Mapping
from typing import TypeGuard

from pd.audit.estimate import Estimate
from pd.audit.figures import Figures
from pd.audit.results import ArmResult, AuditResult, Distance, RealResult

ARMS = {
    "teacher": "Teacher",
    "early": "Early-stopped teacher",
    "filtered": "Filtered student (released)",
    "kept": "Kept candidates (released data)",
    "condensed": "Condensed set",
    "random_drop": "Random-drop student",
    "unfiltered": "Unfiltered student",
}
NONE = "not measured"
_WHO = {
    "teacher": ("the teacher", "the teacher was not audited, so nothing can be compared"),
    "filtered": ("the released student", "the released student was not audited, so nothing is known about it"),
    "kept": ("the released data", "the released data were not audited, so nothing is known about them"),
}


def is_number(value: object) -> TypeGuard[int | float]:
    """A finite number; booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


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


def excess(audit: AuditResult, arm: str) -> Estimate | None:
    """Excess re-identification of an arm by its worst attacker; `high` is the highest of all attackers'."""
    return excess_of(audit.arms.get(arm))


def excess_of(arm: ArmResult | None) -> Estimate | None:
    """The same of an arm's figures."""
    return arm.reid.excess if arm and arm.reid else None


def usefulness(found: ArmResult | RealResult | None) -> Estimate | None:
    """What these images teach: AUC on real hold-out people."""
    return found.utility.auc if found and found.utility else None


def headline(audit: AuditResult) -> str:
    """The verdict in one sentence.

    The figure is excess re-identification (main rate less control rate), so 'beyond chance' is a difference in samples
    of a hundred, not a ratio.
    """
    known = [(who, figure) for arm, (who, _) in _WHO.items() if (figure := excess(audit, arm))]
    if not known:
        return "Nothing can be said about re-identification: neither the teacher nor what is released was audited."
    told = [_of(who, figure, first=at == 0) for at, (who, figure) in enumerate(known)]
    return "; ".join([*told, *(missing for arm, (_, missing) in _WHO.items() if excess(audit, arm) is None)]) + "."


def _of(who: str, figure: Estimate, first: bool = True) -> str:
    """'Beyond chance, 64 in 100 samples of the teacher re-identify a person (95 % interval 62 to 67)'."""
    interval = f" (95 % interval {in_hundred(figure.low)} to {in_hundred(figure.high)})"
    if figure.value <= 0:
        text = f"samples of {who} re-identify people no more often than chance would{interval}"
        return text[0].upper() + text[1:] if first else text
    end = ", which chance alone could explain" if figure.low <= 0 else ""
    count = in_hundred(figure.value)
    if first:
        return f"Beyond what chance gives, {count} in 100 samples of {who} re-identify a person{interval}{end}"
    whose = who if who.endswith("data") else f"{who}'s"
    return f"of {whose}, {count} in 100 do{interval}{end}"


def fidelity_label(key: str, distance: Distance) -> str:
    """'Kernel distance, EfficientNet-Lite0 features': never named without its features; FID and KID of Inception's alone."""
    features = distance.features or ""
    name = key.upper() if "inception" in features.lower() else {"fid": "Fréchet distance", "kid": "Kernel distance"}[key]
    return f"{name}, {features}" + ("" if "feature" in features.lower() else " features") if features else name


def flat(found: object, prefix: str = "") -> dict[str, str]:
    """Figures as `{'a · b': text}`, by name; estimates with their intervals, numbers rounded."""
    lines: dict[str, str] = {}
    for key, value in _entries(found):
        name = f"{prefix}{key}".replace("_", " ")
        low, high = (getattr(value, end, None) for end in ("low", "high"))
        if low is not None and high is not None:
            lines[name] = f"{decimal(getattr(value, 'value', 0.0))} ({decimal(low)} to {decimal(high)})"
        elif is_number(value):
            lines[name] = f"{value:,}" if isinstance(value, int) else decimal(value)
        elif isinstance(value, Figures | Mapping):
            lines.update(flat(value, f"{name} · "))
        elif value is not None:
            lines[name] = str(value)
    return lines


def _entries(found: object) -> Iterator[tuple[str, object]]:
    if isinstance(found, Figures):
        found = {name: getattr(found, name) for name in found.model_fields_set}
    yield from sorted(found.items()) if isinstance(found, Mapping) else ()


def strong(audit: AuditResult) -> str | None:
    """How the attackers were chosen, where `audit.attackers` says strong."""
    found = audit.real and audit.real.strong
    if not found or found.together is None:
        return None
    each = ", ".join(f"{name} {percent(value, 0)}" for name, value in found.found.items())
    return (
        f"The attackers are those that find most of {found.planted:,} leaks planted among members to look like the samples "
        f"(blurred by {percent(found.blur or 0)} of the side, small, noisy, half hidden): {', '.join(found.chosen)}, together "
        f"{percent(found.together, 0)}. Each alone: {each}. The samples had no part in the choice."
    )
