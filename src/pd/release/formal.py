"""The released model with a guarantee: its claim, its ledger, its lineage, and the proof that they agree.

`release/formal/claim.json` says epsilon, delta, unit and relation; `ledger.json` holds the events that epsilon follows from;
`lineage.json` names every weight, what it learned from, and the ledger that accounts for it.
"""

import json
import math
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pd.config import ModelSettings
from pd.dp.canaries import LowerBound
from pd.dp.ledger import Epsilon, Ledger
from pd.errors import UserError
from pd.release.checks import Check, judge
from pd.release.lineage import PUBLIC, base_of, bundled_origin, origin_faults, weights_sha256
from pd.store.atomic import write_json
from pd.store.files import digest_file

LEDGER, PAPER = "the ledger's mechanisms", "private data without a guarantee"
EPSILON, COVERED = "the formal model's epsilon follows from its ledger", "the ledger covers every weight of the formal model"
VERSION = 1
_CLOSE = 1e-6
_MOST_PEOPLE = 10**11


def write_claim(
    folder: Path,
    ledger: Ledger,
    delta: float,
    model: ModelSettings,
    *,
    people: int,
    sound: bool,
    accepted: bool,
    reproducible: bool,
    bound: LowerBound | None = None,
) -> Epsilon:
    """Write `ledger.json`, `claim.json` and `lineage.json` beside `model/`.

    Args:
        folder: `release/formal` while it is made, its `model/` complete.
        ledger: of everything that the weights learned from private data.
        delta: of the claim.
        model: whose autoencoder it is.
        people: members; public.
        sound: False: the ledger's accounting is dp_sad's paper's, which is no guarantee.
        accepted: whether a setting says that no guarantee is wanted.
        reproducible: whether noise follows from a seed.
        bound: from canaries; None: not measured.

    Returns:
        what the ledger says.
    """
    how = {"sound": sound, "accepted": accepted, "reproducible": reproducible}
    found = write_ledger(folder, ledger, delta, people=people, bound=bound, **how)
    digest = digest_file(folder / "ledger.json")
    lines: dict[str, dict[str, Any]] = {}
    for part in sorted({path.parent.name for path in (folder / "model").rglob("*.safetensors")}):
        learned = PUBLIC if part == "vae" else LEDGER if sound else PAPER
        lines[part] = {"sha256": weights_sha256(folder / "model" / part), "trained_on": learned}
        if learned == LEDGER:
            lines[part]["ledger"] = digest
        if part == "vae":
            vae = folder / "model" / part
            lines[part]["from"] = bundled_origin(vae) if model.autoencoder == "bundled" else base_of(model)
    write_json(folder / "lineage.json", lines)
    return found


def write_ledger(
    folder: Path,
    ledger: Ledger,
    delta: float,
    *,
    people: int,
    sound: bool,
    accepted: bool,
    reproducible: bool,
    bound: LowerBound | None = None,
) -> Epsilon:
    """Write `ledger.json` and `claim.json`; arguments as for `write_claim`, less the model."""
    found = ledger.epsilon(delta)
    ledger.save(folder / "ledger.json")
    claim = {
        "schema": VERSION,
        "epsilon": found.value if math.isfinite(found.value) else None,
        "delta": delta,
        "accountant": found.accountant,
        "unit": "person",
        "relation": ledger.relation,
        "people": people,
        "guarantee": sound,
        "no_guarantee_accepted": accepted,
        "reproducible": reproducible,
        "lower_bound": None if bound is None else asdict(bound),
    }
    write_json(folder / "claim.json", claim)
    return found


def check_formal(release: Path, bundled: Collection[str]) -> list[Check]:
    """The checks of `release/formal`; none where there is no such folder.

    Args:
        release: the release folder.
        bundled: tensor digests of the autoencoders that pd ships.
    """
    folder = release / "formal"
    return check_formal_folder(folder, bundled) if folder.exists() else []


def check_formal_folder(folder: Path, bundled: Collection[str]) -> list[Check]:
    """The same of such a folder, wherever it lies."""
    try:
        claim, lines = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("claim.json", "lineage.json"))
    except (OSError, ValueError):
        return [Check(EPSILON, False, "formal/ has no readable claim, ledger and lineage")]
    first = check_claim(folder, EPSILON, "dp_sad's published accounting is no guarantee")
    return [first, _check_covered(folder, claim, lines, bundled)] if isinstance(claim, dict) else [first]


def check_claim(folder: Path, name: str, published: str) -> Check:
    """Whether the epsilon of `claim.json` follows from `ledger.json`.

    Args:
        folder: that both are in.
        name: of the check.
        published: what is said of a release without a guarantee.
    """
    try:
        claim = json.loads((folder / "claim.json").read_text(encoding="utf-8"))
        ledger = Ledger.load(folder / "ledger.json")
        delta, told, people = float(claim["delta"]), claim["epsilon"], claim.get("people")
        told = math.nan if told is None or isinstance(told, bool) else float(told)
    except (OSError, ValueError, KeyError, TypeError, OverflowError, UserError):
        return Check(name, False, f"{folder.name}/ has no readable claim and ledger")
    try:
        found = ledger.epsilon(delta)
    except UserError as error:
        missing = error.code == "missing-package"
        return Check(name, None if missing else False, f"not checked: {error.what}" if missing else error.what)
    if claim.get("guarantee") is not True:
        accepted = claim.get("no_guarantee_accepted") is True
        return Check(name, accepted, f"{published}; released because a setting accepts that" if accepted else published)
    faults = []
    if not ledger.entries:
        faults.append("the ledger is empty")
    if not math.isfinite(told) or not math.isfinite(found.value):
        faults.append("no finite epsilon")
    elif abs(told - found.value) > _CLOSE * max(1.0, found.value):
        faults.append(f"the claim says {told:.6g}, the ledger {found.value:.6g}")
    if (claim.get("unit"), claim.get("relation")) != ("person", ledger.relation):
        faults.append("claim and ledger name different units or relations")
    if not isinstance(people, int) or isinstance(people, bool) or not 2 <= people < _MOST_PEOPLE:
        faults.append("it does not say of how many people")
    elif not 0 < delta * people < 1:
        faults.append("delta is not below 1 / people")
    bound = _bound_in_words(claim.get("lower_bound", "not known"))
    return judge(name, faults, f"epsilon {found.value:.4g} at delta {delta:g}, by {found.accountant}; lower bound {bound}")


def _bound_in_words(told: Any) -> str:
    """What a claim says of a lower bound: nothing here can prove it."""
    try:
        return "not measured" if told is None else f"{float(told['epsilon']):.3g}, as claimed"
    except (TypeError, ValueError, KeyError, OverflowError):
        return "not known"


def _check_covered(folder: Path, claim: dict[str, Any], lines: Any, bundled: Collection[str]) -> Check:
    held = {path.parent.name for path in (folder / "model").rglob("*.safetensors")}
    if not isinstance(lines, dict) or set(lines) != held or not all(isinstance(line, dict) for line in lines.values()):
        return Check(COVERED, False, "lineage.json does not name each component with weights, and no other")
    digest = digest_file(folder / "ledger.json")
    allowed = {LEDGER, PUBLIC} if claim.get("guarantee") is True else {LEDGER, PUBLIC, PAPER}
    faults = []
    for part, line in sorted(lines.items()):
        if weights_sha256(folder / "model" / part) != line.get("sha256"):
            faults.append(f"{part}: its weights are not those that were recorded")
        if line.get("trained_on") not in allowed or (part != "vae" and line.get("trained_on") == PUBLIC):
            faults.append(f"{part}: it learned from something that the ledger does not cover")
        if part == "vae":
            faults += [f"vae: {fault}" for fault in _vae_faults(folder / "model" / part, line, bundled)]
        if line.get("trained_on") == LEDGER and line.get("ledger") != digest:
            faults.append(f"{part}: another ledger accounts for it")
    return judge(COVERED, faults, ", ".join(f"{part}: {line['trained_on']}" for part, line in sorted(lines.items())))


def _vae_faults(folder: Path, line: dict[str, Any], bundled: Collection[str]) -> list[str]:
    """What is wrong with the autoencoder's origin. Releases of before named none: theirs must be one that pd ships."""
    try:
        source = str(line["from"]) if "from" in line else bundled_origin(folder)
    except ValueError:
        return ["its origin is not known"]
    return origin_faults(folder, source, bundled, public=line.get("trained_on") == PUBLIC)
