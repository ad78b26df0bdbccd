"""What a run has spent of its data set's privacy: a file for models, one for classifiers."""

import json
from pathlib import Path
from typing import Any

from pd.dp.ledger import Ledger
from pd.store.atomic import write_json


def enter(path: Path, dataset: str, weights: str, ledger: Ledger, delta: float) -> None:
    """Add a model's spending to the run's: an earlier model may have been given away, and what it spent stays spent.

    The model's weights name it, so that a stage that is done again after a crash, with the same key, is not counted twice. A
    data set that has changed forgets nothing: most people may be the same.

    Args:
        path: `run.ledger`, or `run.classifier_ledger`.
        dataset: digest of the data set.
        weights: digest of the model's weights.
        ledger: what it spent.
        delta: of its claim.
    """
    held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"models": []}
    spent = [model for model in models(held) if model["weights"] != weights]
    spent.append({"weights": weights, "dataset": dataset, "ledger": ledger.to_json()})
    write_json(path, {"dataset": dataset, "delta": delta, "models": spent})


def models(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """All models of a file, each with the digest of its own data set; older files name one for all.

    Raises:
        KeyError: it is no such file.
    """
    return [model if "dataset" in model else model | {"dataset": tree["dataset"]} for model in tree["models"]]
