"""The released classifier: weights, names of classes, claim, ledger and lineage, and the proof that they agree."""

import json
from pathlib import Path
from typing import Any

from pd.classifier.onnx_file import onnx_bytes
from pd.classify.task import load_classifier
from pd.dp.canaries import LowerBound
from pd.dp.ledger import Epsilon, Ledger
from pd.errors import UserError
from pd.release.checks import Check, judge
from pd.release.formal import LEDGER, PAPER, check_claim, write_ledger
from pd.release.lineage import weights_sha256
from pd.store.atomic import write_bytes, write_json
from pd.store.files import digest_file

EPSILON, COVERED = "the classifier's epsilon follows from its ledger", "the ledger covers the classifier's weights"
SAME = "model.onnx is the classifier's weights and nothing else"
WEIGHTS, ONNX = "model.safetensors", "model.onnx"
_PUBLISHED = "a generator that learned against a classifier of all private data is covered by no epsilon"


def write_classifier(
    folder: Path,
    made: Path,
    names: tuple[str, ...],
    ledger: Ledger,
    delta: float,
    *,
    people: int,
    sound: bool,
    accepted: bool,
    reproducible: bool,
    onnx: bool,
    bound: LowerBound | None = None,
) -> Epsilon:
    """Write all but the card.

    Args:
        folder: `release/classifier` while it is made.
        made: what `save_classifier` wrote.
        names: of the classes.
        ledger: of everything that the weights learned from private data.
        delta: of the claim.
        people: members; public.
        sound: False: the accounting is the paper's.
        accepted: whether a setting says that no guarantee is wanted.
        reproducible: whether noise follows from a seed.
        onnx: whether `model.onnx` is written, too.
        bound: from canaries; None: not measured.

    Returns:
        what the ledger says.
    """
    write_bytes(folder / WEIGHTS, (made / WEIGHTS).read_bytes())
    config = json.loads((made / "config.json").read_text(encoding="utf-8"))
    write_json(folder / "config.json", config | {"names": list(names)})
    how = {"sound": sound, "accepted": accepted, "reproducible": reproducible}
    found = write_ledger(folder, ledger, delta, people=people, bound=bound, **how)
    line = {"sha256": weights_sha256(folder), "trained_on": LEDGER if sound else PAPER}
    write_json(folder / "lineage.json", {"classifier": line | {"ledger": digest_file(folder / "ledger.json")}})
    if onnx:
        write_bytes(folder / ONNX, onnx_bytes(load_classifier(folder), tuple(config["shape"])))
    return found


def check_classifier(folder: Path) -> list[Check]:
    """The checks of a released classifier; none where there is no such folder."""
    if not folder.exists():
        return []
    return [check_claim(folder, EPSILON, _PUBLISHED), _covered(folder), *([_same(folder)] if (folder / ONNX).exists() else [])]


def _covered(folder: Path) -> Check:
    try:
        claim, lines = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("claim.json", "lineage.json"))
        line: dict[str, Any] = lines["classifier"]
        names = _config(folder)["names"]
        module = load_classifier(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return Check(COVERED, False, f"{folder.name}/ has no readable claim, lineage, configuration and weights")
    faults = []
    if set(lines) != {"classifier"} or set(line) != {"sha256", "trained_on", "ledger"}:
        faults.append("lineage.json names other things than the classifier")
    if weights_sha256(folder) != line.get("sha256"):
        faults.append("its weights are not those that were recorded")
    if line.get("trained_on") != (LEDGER if claim.get("guarantee") is True else PAPER):
        faults.append("it learned from something that the ledger does not cover")
    if line.get("ledger") != digest_file(folder / "ledger.json"):
        faults.append("another ledger accounts for it")
    if not isinstance(names, list) or len(names) != module.head.out_features:  # type: ignore[union-attr]
        faults.append("it has not as many names as classes")
    return judge(COVERED, faults, f"{line.get('trained_on')}; {sum(value.numel() for value in module.parameters()):,} numbers")


def _same(folder: Path) -> Check:
    try:
        shape, module = tuple(_config(folder)["shape"]), load_classifier(folder)
        again = onnx_bytes(module, shape)
    except UserError as error:
        if error.code == "missing-package":
            return Check(SAME, None, f"not checked: {error.what}")
        return Check(SAME, False, error.what)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return Check(SAME, False, "the weights cannot be read")
    faults = [] if again == (folder / ONNX).read_bytes() else ["it is another file than the weights make"]
    return judge(SAME, faults, "the same bytes when written again")


def _config(folder: Path) -> dict[str, Any]:
    held = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if not isinstance(held, dict) or set(held) != {"shape", "classes", "width", "names"}:
        raise ValueError("no configuration of a classifier")
    return held
