"""Which of the audit's figures may leave the house: `release/audit.json` and `release/report.html` are made of these alone.

What is let through, and why it is safe:

- rates, counts, scores and intervals over all samples, all members or all strangers: they say how much leaks, and of nobody;
- names of attackers, features and of pd's own kinds of planted leaks; label values, which are numbers;
- names of the labels in `shared.labels`, those that enough members carry (`pd.dataset.shared`), and of no others;
- what the filter costs by label: drop rates of candidates, whose labels come from prompts that several people share;
- the verdict, as it was made from all figures: what it says of a figure that stays at home is withheld, its state is not;
- how unevenly the filter's cost falls on people (one Gini coefficient), and how many members are resembled at all.

What stays in `private/audit.json`: every figure of a single person (`filter.cost.by_identity.worst`), which pictures and people
the released data come closest to (`closest`), usefulness and drop rates by the labels of real people (`utility.subgroups`,
`filter.cost.strangers_by_label`: a rare value may be one person's), and whatever is not named here. The list says what may go,
not what may not, so that a figure nobody has thought of stays at home.
"""

import math
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pd.report.verdict import published, verdict
from pd.report.words import WITHHELD, dig

_NAME = re.compile(r"[\w .:@/+-]{1,80}")
_VALUE = re.compile(r"-?\d{1,4}(\.\d{1,4})?|true|false|yes|no", re.IGNORECASE)
_LONGEST = 400  # of a remark, such as why something could not be measured

# Leaves: a number; numbers in a list; a remark; a label's name. A mapping's key "*" stands for any name, "@" for the name of a
# label that enough members carry, "#" for any label's value.
NUMBER, NUMBERS, WORDS, LABEL = "number", "numbers", "words", "label"
_ESTIMATE = {"value": NUMBER, "low": NUMBER, "high": NUMBER, "n": NUMBER}
_ESTIMATES = [_ESTIMATE]
_RATES = {**dict.fromkeys(("main", "control", "excess", "like_holdout", "unlike"), _ESTIMATE), "people_hit": NUMBER}
_POWER = {
    **dict.fromkeys(("copies", "other_pictures"), _ESTIMATE),
    **dict.fromkeys(("detectable", "planted", "detectable_other", "planted_other", "blind"), NUMBER),
    "words": WORDS,
}
_REID = {
    "attacker": WORDS,
    **_RATES,
    "toward_holdout": _ESTIMATE,
    "says_nothing": WORDS,
    "power": _POWER,
    "by_attacker": {"*": {**_RATES, "power": _POWER, "voted": NUMBER}},
}
_UTILITY = {"auc": _ESTIMATE, "labels": {"@": _ESTIMATE}, "skipped": {"@": WORDS}}
_DISTANCE = {
    **_ESTIMATE,
    **dict.fromkeys(("name", "features", "reference", "resize"), WORDS),
    **dict.fromkeys(("n_real", "subset"), NUMBER),
}
_FIDELITY = {"fid": _DISTANCE, "kid": _DISTANCE}
_MEMBERSHIP = {
    "auc": _ESTIMATE,
    "tpr_at_1": _ESTIMATE,
    "members": NUMBER,
    "holdout": NUMBER,
    "shadows": NUMBER,
    "variant": WORDS,
}
_GUESSED = {"members": _ESTIMATE, "holdout": _ESTIMATE, "advantage": _ESTIMATE}
_ARM = {
    "n": NUMBER,
    "reid": _REID,
    "utility": _UTILITY,
    "fidelity": _FIDELITY,
    "extraction": {
        **dict.fromkeys(("extracted", "control", "excess"), _ESTIMATE),
        "copies": dict.fromkeys(("members", "control", "excess"), _ESTIMATE),
        **dict.fromkeys(("images_extracted", "cliques", "prompts", "samples_per_prompt"), NUMBER),
    },
    "attributes": {"worst": LABEL, "by_label": {"@": _GUESSED}, "skipped": {"@": WORDS}, "hidden_half": _GUESSED},
    "coverage": {
        **dict.fromkeys(("identities", "precision", "recall"), _ESTIMATE),
        "k": NUMBER,
        "compared": NUMBER,
        "features": WORDS,
    },
    "best_match": {how: {**_MEMBERSHIP, "attacker": WORDS, "by_attacker": {"*": _ESTIMATE}} for how in ("single", "averaged")},
    "membership": {"loss": _MEMBERSHIP, "likelihood_ratio": _MEMBERSHIP},
    "adherence": {"score": _ESTIMATE, "above_other_prompts": _ESTIMATE, "model": WORDS},
}
_CURVES = {"thresholds": NUMBERS, "sensitivity": {"*": NUMBERS}, "specificity": NUMBERS, "kept": NUMBERS}
_AGREEMENT = {
    **dict.fromkeys(("kappa", "jaccard"), _ESTIMATE),
    **dict.fromkeys(("kappa_of_pairs", "jaccard_of_pairs"), NUMBERS),
    "seeds": NUMBER,
}
_FILTER = {
    **dict.fromkeys(("candidates", "kept", "threshold", "chosen"), NUMBER),
    "dropped": {"*": NUMBER},
    "curves": _CURVES,
    "near_copy": {"curves": _CURVES, "chosen": NUMBER},
    "at_chosen": {"sensitivity": {"*": _ESTIMATE}, "specificity": _ESTIMATE},
    "consistency": {**_AGREEMENT, "networks": _AGREEMENT},
    "cost": {"by_label": {"@": {"#": _ESTIMATE}}, "by_identity": {"gini": _ESTIMATE}},
}
PUBLIC: Mapping[str, Any] = {
    "arms": {"*": _ARM},
    "less_than": {"*": {"attacker": WORDS, **_ESTIMATE}},
    "filter": _FILTER,
    "fingerprints": {
        "doses": NUMBERS,
        "teacher": _ESTIMATES,
        "student": _ESTIMATES,
        "control": {"teacher": _ESTIMATES, "student": _ESTIMATES},
    },
    "real": {
        "alpha": NUMBER,
        "strangers": NUMBER,
        "n": dict.fromkeys(
            ("members", "member_identities", "strangers", "stranger_identities", "attackers_learnt_from"), NUMBER
        ),
        "member": {"n": NUMBER, **_REID},
        "planted": {"*": _ESTIMATE},
        "round_trip": {"n": NUMBER, **_REID, "share_kept": {"*": _ESTIMATE}},
        "utility": _UTILITY,
        "fidelity": _FIDELITY,
    },
}


def public_audit(audit: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `audit.json` that may be released, and the verdict: see the module's text for what that is.

    Args:
        audit: all figures; or what this function made of them, which comes out as it is.
    """
    found = audit.get("shared")
    shared = {"k": dig(found, "k"), "labels": sorted(dig(found, "labels") or ())}
    public: dict[str, Any] = _Selection(frozenset(shared["labels"])).of(audit, PUBLIC)
    whole = published(verdict(audit), verdict(public))
    return {**public, **({"shared": shared} if isinstance(found, Mapping) else {}), "verdict": whole.as_json()}


class _Selection:
    """What of an audit is wanted, where these labels may be named."""

    def __init__(self, labels: frozenset[str]) -> None:
        self._labels = labels

    def of(self, value: Any, wanted: Any) -> Any:
        """What of a value is wanted, in its own order; `_LEFT_OUT` when none of it is."""
        if isinstance(value, Mapping) and isinstance(wanted, Mapping):
            kept = {}
            for key, entry in value.items():
                # Anything may be a remark on why there is no figure, instead of the figure.
                part = wanted.get(key, WORDS if key == "why" else self._named(key, wanted))
                picked = _LEFT_OUT if part is None else self.of(entry, part)
                if picked is not _LEFT_OUT:
                    kept[_name(key)] = picked
            return kept
        if value is None or ((wanted == NUMBER or wanted is _ESTIMATE) and _number(value)):
            return value
        if wanted == WORDS and isinstance(value, str):
            return _name(" ".join(value.split())[:_LONGEST])
        if wanted == LABEL and isinstance(value, str):
            return value if value in self._labels else WITHHELD
        if isinstance(value, list) and (wanted == NUMBERS or wanted is _ESTIMATES):
            picked = [self.of(item, _ESTIMATE) for item in value]
            return _LEFT_OUT if any(item is _LEFT_OUT for item in picked) else picked
        return _LEFT_OUT

    def _named(self, key: str, wanted: Mapping[str, Any]) -> Any:
        """What is wanted under a name that the list leaves open; None: nothing."""
        if "@" in wanted and key in self._labels:
            return wanted["@"]
        if "*" in wanted and _NAME.fullmatch(key):
            return wanted["*"]
        return wanted.get("#") if _VALUE.fullmatch(key) else None


_LEFT_OUT = object()


def _name(text: str) -> str:
    """A path of this machine (an attacker may be a file) as the file's name: where it lies is nobody's business."""
    return PurePosixPath(text).name if text.startswith(("/", "~/", "./", "../", "file:")) else text


def _number(value: Any) -> bool:
    return isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


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


def public_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say what was done and name nothing of this machine: no path, address, caption, base or seed."""
    sections = {name: settings.get(name) or {} for name in _SETTINGS}
    shown = {name: {key: found[key] for key in _SETTINGS[name] if key in found} for name, found in sections.items()}
    if sections["teacher"].get("trained"):
        shown["teacher"] = {"training": "unknown (trained elsewhere)"}
    return shown
