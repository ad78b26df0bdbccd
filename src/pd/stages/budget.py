"""What `pd budget` prints: the cost of settings, what to expect of them, and what runs have spent together."""

import json
from collections.abc import Sequence
from pathlib import Path

from pd.config import ModelSettings, Settings
from pd.config.mirrored import mirrored_run
from pd.dp.budget import prospects
from pd.dp.ledger import Ledger
from pd.errors import UserError
from pd.formal.plan import make_plan
from pd.store.run import Run

Rows = dict[str, float | int | str]


def budget_of(settings: Settings, people: int) -> Rows:
    """Cost and prospects of the section `formal`.

    Args:
        settings: of a run.
        people: members.

    Raises:
        UserError: there is no such section, or the budget cannot be kept.
    """
    formal = settings.formal
    if formal is None:
        raise UserError("there is no section `formal`", where="settings", fix="add one: formal: {epsilon: 10}")
    plan = make_plan(formal, people)
    weights, outputs = _numbers(formal.model, settings)
    expected = prospects(formal.epsilon, formal.delta, people, weights, formal.teachers, outputs)
    found = plan.ledger.epsilon(formal.delta)
    rows: Rows = {"people": people, "method": formal.method, "steps": plan.steps}
    rows |= {"people a step, expected": plan.expected} if plan.rate else {}
    rows |= {"noise multiplier": plan.noise}
    rows |= {"noise multiplier of the warm-up": plan.warm_up} if plan.warm_up else {}
    rows |= {f"epsilon by {name}": value for name, value in found.by.items()}
    rows |= {
        "epsilon": found.value if plan.reading == "sound" else "no guarantee (accounting: paper)",
        "delta": formal.delta,
        "mu of Gaussian privacy": expected.mu,
        "trained weights": weights,
        "dp_sgd: squared signal to noise, (mu n)^2 / weights": expected.dp_sgd,
        f"ensemble of {formal.teachers}: (mu K / 2)^2 / outputs": expected.ensemble,
        "a model of use is": {"useful": "to be expected", "doubtful": "doubtful"}.get(expected.word, expected.word),
    }
    if expected.word == "out of reach":
        rows["why"] = f"noise that hides one of {people:,} people hides the others too; about 300 would be needed above"
    return rows


def count_people(settings: Settings) -> int:
    """Members of the run's data set where it is ingested, else of the images, as ingest would divide them."""
    from pd.dataset.private import PrivateDataset

    run = Run(settings.run_dir)
    if run.dataset.is_dir():
        return len(set(PrivateDataset.read_words(run.dataset).members().identities))
    from pd.dataset.readers.choose import open_source
    from pd.dataset.readers.source import BadRow

    names, members = set(), set()
    source = open_source(settings.data)
    for row in source.rows():
        if not isinstance(row, BadRow):
            names.add(row.identity)
            if source.has_split and row.split == "member":
                members.add(row.identity)
    return len(members) if source.has_split else len(names) - round(settings.data.holdout * len(names))


def spent_by(runs: Sequence[Path]) -> Rows:
    """What runs on one data set have spent together.

    Raises:
        UserError: a run has spent nothing that a ledger knows, or two are on different data sets.
    """
    whole: Ledger | None = None
    dataset, delta = None, 0.0
    rows: Rows = {}
    for path in runs:
        root = mirrored_run(path)
        file = Run(root).ledger
        try:
            tree = json.loads(file.read_text(encoding="utf-8"))
            ledgers = [Ledger.from_json(model["ledger"]) for model in tree["models"]]
            held, own = str(tree["dataset"]), float(tree["delta"])
            ledger = ledgers[0]
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            raise UserError("no ledger in this run", where=str(path), fix="`pd formal` writes one") from None
        if dataset is not None and held != dataset:
            raise UserError(
                "these runs are on different data sets: their spending does not add up",
                where=str(path),
                fix="name runs of one data set",
            )
        dataset, delta = held, max(delta, own)
        for more in ledgers[1:]:
            ledger = ledger.and_(more)
        whole = ledger if whole is None else whole.and_(ledger)
        rows[f"epsilon of {path.name} ({len(ledgers)} models)"] = ledger.epsilon(own).value
    assert whole is not None
    return rows | {"delta": delta, "epsilon together": whole.epsilon(delta).value}


def _numbers(model: ModelSettings, settings: Settings) -> tuple[int, int]:
    """Trained weights of the UNet, and numbers of one of its outputs; nothing is downloaded for it."""
    from pd.diffusion.adapter import choose_trained
    from pd.diffusion.components import build

    parts = build(model, settings.data, 0)
    choose_trained(parts.unet, model.unet_training)
    channels, height, width = parts.latent_shape
    return sum(value.numel() for value in parts.unet.parameters() if value.requires_grad), channels * height * width
