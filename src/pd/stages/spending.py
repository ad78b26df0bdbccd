"""What a run has spent of its data set's privacy: a file for models, one for classifiers."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pd.config import digest_of
from pd.dp.ledger import Ledger
from pd.release.checks import Check, judge
from pd.release.lineage import weights_sha256
from pd.store.atomic import write_json
from pd.store.run import Run

FORMAL = "the formal model's claim is what its run spent"
CLASSIFIER = "the classifier's claim is what its run spent"


@dataclass(frozen=True)
class Claimed:
    """What the release of a model says of itself; whoever changes that in a copy is found out by the run.

    Attributes:
        ledger: digest of its ledger.
        delta: of its epsilon.
        people: members.
        guarantee: whether there is one.
        accepted: whether a setting says that none is wanted.
    """

    ledger: str
    delta: float
    people: int
    guarantee: bool
    accepted: bool

    @classmethod
    def of(cls, ledger: Ledger, delta: float, people: int, *, guarantee: bool, accepted: bool) -> "Claimed":
        """Of a release that is about to be written."""
        return cls(digest_of(ledger.to_json()), delta, people, guarantee, accepted)


def enter(
    path: Path,
    dataset: str,
    weights: str,
    ledger: Ledger,
    delta: float,
    claimed: Claimed | None = None,
    made_of: str | None = None,
) -> None:
    """Add a model's spending to the run's: an earlier model may have been given away, and what it spent stays spent.

    The model's weights name it, so that a stage that is done again after a crash, with the same key, is not counted twice. A
    data set that has changed forgets nothing: most people may be the same.

    Args:
        path: `run.ledger`, or `run.classifier_ledger`.
        dataset: digest of the data set.
        weights: digest of the model's weights.
        ledger: what it spent.
        delta: of its claim.
        claimed: what its release will say; `pd verify --against` compares.
        made_of: digest of what its weights follow from, but for plan and key: `is_entered` asks for it.
    """
    held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"models": []}
    spent = [model for model in models(held) if model["weights"] != weights]
    told: dict[str, Any] = {} if claimed is None else {"claimed": asdict(claimed)}
    told |= {} if made_of is None else {"made_of": made_of}
    spent.append({"weights": weights, "dataset": dataset, "ledger": ledger.to_json()} | told)
    write_json(path, {"dataset": dataset, "delta": delta, "models": spent})


def is_entered(path: Path, weights: str, ledger: Ledger, made_of: str) -> bool:
    """Whether weights were entered as made by this plan of the same things: then they need not be made, and paid for, again.

    Args:
        path: `run.ledger`.
        weights: digest of the model's weights.
        ledger: of the plan.
        made_of: digest of what they follow from besides.
    """
    if not path.exists():
        return False
    wanted = {"weights": weights, "made_of": made_of, "ledger": ledger.to_json()}
    held = models(json.loads(path.read_text(encoding="utf-8")))
    return any(all(model.get(key) == value for key, value in wanted.items()) for model in held)


def models(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """All models of a file, each with the digest of its own data set; older files name one for all.

    Raises:
        KeyError: it is no such file.
    """
    return [model if "dataset" in model else model | {"dataset": tree["dataset"]} for model in tree["models"]]


def check_spent(run: Run, release: Path) -> list[Check]:
    """Whether what a release claims of its formal model and of its classifier is what the run entered for these weights.

    Ledger, claim and lineage that were changed together agree with one another; the run's own ledger still tells.

    Args:
        run: that the release was made by.
        release: the release folder, or the folder of one of the two.
    """
    folders = {
        FORMAL: (release / "formal", "model/unet", run.ledger),
        CLASSIFIER: (release / "classifier", "", run.classifier_ledger),
    }
    if (release / "claim.json").is_file():
        name = CLASSIFIER if (release / "config.json").is_file() else FORMAL
        folders = {name: (release, *folders[name][1:])}
    return [_check(name, *where) for name, where in folders.items() if where[0].exists()]


def _check(name: str, folder: Path, weights: str, path: Path) -> Check:
    if not path.exists():
        return Check(name, None, "not checked: the run has no ledger")
    try:
        known = {model["weights"]: model for model in models(json.loads(path.read_text(encoding="utf-8")))}
        claim = json.loads((folder / "claim.json").read_text(encoding="utf-8"))
        ledger = json.loads((folder / "ledger.json").read_text(encoding="utf-8"))
        own = known.get(weights_sha256(folder / weights))
        if own is None:
            return Check(name, False, "the run's ledger knows no such weights")
        if "claimed" not in own:
            same = ledger == own["ledger"]
            return Check(name, True if same else None, "the run's ledger" if same else "not checked: entered by an older pd")
        claimed = Claimed(**own["claimed"])
        told = {
            "ledger": digest_of(ledger),
            "delta": claim["delta"],
            "people": claim["people"],
            "guarantee": claim["guarantee"],
            "accepted": claim["no_guarantee_accepted"],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Check(name, False, "claim and ledger of the release, or the ledger of the run, cannot be read")
    changed = [key for key, value in asdict(claimed).items() if told[key] != value]
    return judge(name, [f"it was released with another {key}" for key in changed], "ledger, delta and people as entered")
