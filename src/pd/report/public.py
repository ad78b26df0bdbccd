"""What of a run may leave the house: `release/audit.json` and `release/report.html` are made of these figures alone.

Which figures those are, the marks in `pd.audit.results` say. The verdict goes along as it was made from all figures: what it
says of a figure that stays at home is withheld, its state is not.
"""

from collections.abc import Collection, Mapping
from typing import Any

from pd.audit.figures import public_part
from pd.audit.results import AuditResult, Shared
from pd.config import Settings
from pd.report.verdict import published, verdict


def public_audit(audit: AuditResult, without: Collection[str] = ()) -> AuditResult:
    """The part of an audit that may be released, and the verdict.

    Args:
        audit: all figures; or what this function made of them, which comes out as it is.
        without: arms whose figures stay at home, whatever they are.
    """
    if set(audit.arms).intersection(without):
        audit = audit.model_copy(update={"arms": {name: arm for name, arm in audit.arms.items() if name not in without}})
    shared = audit.shared and Shared(k=audit.shared.k, labels=sorted(audit.shared.labels))
    public = public_part(audit, frozenset(shared.labels if shared else ()))
    whole = published(verdict(audit), verdict(public))
    return public.model_copy(update={"verdict": whole} | ({"shared": shared} if shared else {}))


_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "data": ("size", "mode", "holdout"),
    "reid": ("networks", "dim", "steps", "calibration"),
    "teacher": ("unet", "steps", "batch", "prediction"),
    "generate": ("candidates", "sampler_steps", "guidance", "prompt_k", "balance_prompts"),
    "filter": (
        "prompt",
        "reid",
        "vote",
        "near_copy",
        "near_copy_quantile",
        "families",
        "family_quantile",
        "duplicate",
        "near_duplicate",
    ),
    "student": ("unet", "steps", "batch", "prediction"),
    "audit": ("arms", "samples", "alpha", "bootstrap", "attacker_steps", "utility_steps"),
}


def public_settings(settings: Settings) -> dict[str, Any]:
    """The settings that say what was done and name nothing of this machine: no path, address, caption, base or seed."""
    found = settings.model_dump(mode="json", include={name: set(keys) for name, keys in _SETTINGS.items()})
    shown = {name: {key: found[name][key] for key in keys} for name, keys in _SETTINGS.items()}
    if settings.teacher.trained:
        shown["teacher"] = {"training": "unknown (trained elsewhere)"}
    return shown
