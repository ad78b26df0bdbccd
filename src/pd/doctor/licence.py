"""What the licence of a base allows, as far as its model card says. Nothing here is legal advice."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pd.config import Settings
from pd.doctor.finding import Finding, left_out, ok, todo

# Names are those of the hub (its documentation, "Licenses"). What each means for a student is ours.
FREE = ("apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "unlicense", "isc")
WITH_RULES = ("creativeml-openrail-m", "openrail", "openrail++", "bigscience-openrail-m")
CARD = "README.md"
_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*(\n|\Z)", re.DOTALL)
_LARGEST = 2**20  # bytes of a card that are read


def licences(settings: Settings) -> list[Finding]:
    """A line for each base that the settings name; the hub is asked where it is no folder, unless HF_HUB_OFFLINE is set."""
    bases = {(base, model.revision) for model in (settings.teacher, settings.student) if (base := model.base)}
    if not bases:
        return [left_out("licence", "no base is named: both models learn from scratch")]
    return [licence(base, revision) for base, revision in sorted(bases, key=str)]


def licence(base: str, revision: str | None = None) -> Finding:
    """What one base allows."""
    folder = Path(base).expanduser()
    if not folder.is_dir() and os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        return left_out("licence", f"{base}: the hub is switched off (HF_HUB_OFFLINE)")
    card = front(folder / CARD) if folder.is_dir() else _of_hub(base, revision)
    name = str(card.get("license") or "").lower()
    if name in FREE:
        return ok("licence", f"{base}: {name}")
    if name in WITH_RULES:
        return ok(
            "licence", f"{base}: {name}; its rules of use go along with a student that learned from it: name them in the card"
        )
    if not name:
        return todo("licence", f"{base}: its card names none", "find out what it allows before you release a student of it")
    if "nc" in re.split(r"[^a-z]+", name) or "non-commercial" in name or "research" in name:
        return todo(
            "licence", f"{base}: {name}, for no commercial use", "release the student under the same, or take another base"
        )
    more = card.get("license_name") if name == "other" else None
    return todo("licence", f"{base}: {more or name}, which pd does not know", "read it: may changed copies be shared, and how?")


def front(card: Path) -> Mapping[str, Any]:
    """The YAML at the head of a model card; empty where there is none."""
    try:
        with card.open(encoding="utf-8", errors="replace") as file:
            found = _FRONT.match(file.read(_LARGEST))
        read = yaml.safe_load(found[1]) if found else None
    except (OSError, yaml.YAMLError):
        return {}
    return read if isinstance(read, dict) else {}


def _of_hub(base: str, revision: str | None) -> Mapping[str, Any]:
    from huggingface_hub import model_info
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        card = model_info(base, revision=revision, timeout=10).card_data
    except (HfHubHTTPError, HFValidationError, OSError):
        return {}
    return card.to_dict() if card else {}
