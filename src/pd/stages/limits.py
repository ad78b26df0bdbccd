"""`--fail-above excess=0.02`: a limit on what an audit may find, for the pipelines of others."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pd.errors import LeakError, UserError

# What may be limited, and where an arm's figures hold it.
_MEASURES: Mapping[str, tuple[str, ...]] = {
    "excess": ("reid", "excess", "value"),
    "excess_low": ("reid", "excess", "low"),
    "excess_high": ("reid", "excess", "high"),
    "extraction": ("extraction", "excess", "value"),
    "extraction_high": ("extraction", "excess", "high"),
    "hidden_half": ("attributes", "hidden_half", "advantage", "value"),
}


def parse_limits(texts: Sequence[str]) -> dict[str, float]:
    """`excess=0.02` to {"excess": 0.02}.

    Raises:
        UserError: no such measure, or no number.
    """
    limits: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in _MEASURES:
            raise UserError(f"cannot limit '{name}'", where="--fail-above", fix=f"write one of {', '.join(_MEASURES)}")
        try:
            limits[name] = float(value)
        except ValueError:
            limits[name] = math.nan
        if not math.isfinite(limits[name]):
            raise UserError(f"'{text}' has no number", where="--fail-above", fix=f"write {name}=0.02")
    return limits


def check_limits(arm: Mapping[str, Any], limits: Mapping[str, float]) -> list[str]:
    """Hold an arm's figures against limits.

    Args:
        arm: one of `arms` of `audit.json`.
        limits: measure -> the largest value that is let pass.

    Returns:
        Lines for people: where passing means less than it seems.

    Raises:
        LeakError: a figure lies above its limit.
        UserError: the audit was blind, so that passing would mean nothing.
    """
    for name, limit in limits.items():
        value: Any = arm
        for key in _MEASURES[name]:
            value = value[key]
        if value > limit:
            raise LeakError(f"{name} is {value:.4f}, above {limit:g}", where="--fail-above", fix="do not share these images")
    power = arm["reid"]["power"]
    of_excess = [limit for name, limit in limits.items() if name.startswith("excess")]
    if not of_excess:
        return []
    if power["blind"]:
        raise UserError(power["words"], where="--fail-above", fix="more real people or other attackers are needed")
    if power["detectable"] > min(of_excess):
        return [f"Below the limit of {min(of_excess):g}; but that is less than this audit finds reliably."]
    return []
