"""What `pd budget` prints: the cost of settings, what to expect of them, and what runs have spent together."""

import json
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

from pd.classifier.plan import answers_right, teachers_needed
from pd.classifier.plan import make_plan as make_classifier_plan
from pd.config import ModelSettings, Settings
from pd.config.mirrored import mirrored_run
from pd.dataset.splits import holdout_identities
from pd.dp.budget import prospects
from pd.dp.ledger import Ledger
from pd.errors import UserError
from pd.formal.plan import make_plan, published, way
from pd.seeds import derive
from pd.stages.spending import models
from pd.store.run import Run

Rows = dict[str, float | int | str]
_CLASSES = 10  # that prospects are told for, before any label is read


def budget_of(settings: Settings, people: int) -> Rows:
    """Cost and prospects of the sections `formal` and `classifier`.

    Args:
        settings: of a run.
        people: members.

    Raises:
        UserError: there is neither section, or the budget cannot be kept.
    """
    formal = settings.formal
    if formal is None and settings.classifier is None:
        raise UserError(
            "there is no section `formal` or `classifier`",
            code="bad-options",
            where="settings",
            fix="add one: formal: {epsilon: 10}",
        )
    if formal is None:
        return classifier_budget(settings, people)
    plan = make_plan(formal, people)
    weights, outputs = _numbers(formal.model, settings)
    expected = prospects(formal.epsilon, formal.delta, people, weights, formal.teachers, outputs, way(formal))
    found = plan.ledger.epsilon(formal.delta)
    rows: Rows = {"people": people, "method": formal.method, "steps": plan.steps}
    rows |= {"people a step, expected": plan.expected} if plan.rate else {}
    rows |= {"noise multiplier": plan.noise}
    rows |= {"noise multiplier of the warm-up": plan.warm_up} if plan.warm_up else {}
    rows |= {f"epsilon by {name}": value for name, value in found.by.items()}
    rows |= {
        "epsilon": found.value if plan.reading == "sound" else "no guarantee (accounting: paper)",
        "delta": formal.delta,
        **_beside(formal.canaries),
        "mu of Gaussian privacy": expected.mu,
        "trained weights": weights,
        "dp_sgd: squared signal to noise, (mu n)^2 / weights": expected.dp_sgd,
        f"ensemble of {formal.teachers}: (mu K / 2)^2 / outputs": expected.ensemble,
        "a model of use is": {"useful": "to be expected", "doubtful": "doubtful"}.get(expected.word, expected.word),
    }
    if plan.reading == "paper":
        told = published(plan, formal.delta)
        rows |= {"epsilon that the paper would claim": told.epsilon, "noise multiplier in effect, over 500": told.effective}
    if expected.word == "out of reach":
        rows["why"] = f"noise that hides one of {people:,} people hides the others too; about 300 would be needed above"
    if settings.classifier is not None:
        rows |= {f"classifier: {name}": value for name, value in classifier_budget(settings, people).items()}
    return rows


def classifier_budget(settings: Settings, people: int) -> Rows:
    """Cost and prospects of the section `classifier`, for so many classes as are usual: ten.

    Raises:
        UserError: the budget cannot be kept.
    """
    how = settings.classifier
    assert how is not None
    planned = make_classifier_plan(how, people)
    ledger, found = planned.ledger, planned.ledger.epsilon(how.delta)
    rows: Rows = {"people": people, "method": how.method}
    if planned.sigma is not None:
        right = answers_right(planned.teachers, planned.sigma, _CLASSES)
        rows |= {
            "teachers": planned.teachers,
            "people a teacher": people // planned.teachers,
            "queries": planned.queries,
            "answers at most": planned.answers,
            "noise on each count, votes": planned.sigma,
            f"answers right if all teachers agree, {_CLASSES} classes": right,
            f"teachers for 9 of 10 right, {_CLASSES} classes": teachers_needed(planned.sigma, _CLASSES),
        }
    rows |= {"noise multiplier of gradients": planned.sgd_noise} if planned.sgd_noise is not None else {}
    if how.baseline == "card":
        other = make_classifier_plan(how.model_copy(update={"method": "dp_sgd", "accounting": "sound"}), people)
        ledger = ledger.and_(other.ledger)
        rows["epsilon with the baseline that the card names"] = ledger.epsilon(how.delta).value
    sound = planned.reading == "sound"
    rows |= {"epsilon": found.value if sound else "no guarantee (accounting: paper)", "delta": how.delta}
    return rows | _beside(how.canaries)


def _beside(canaries: int) -> Rows:
    """What stands beside an epsilon before there is any training."""
    return {"lower bound on epsilon": f"not measured yet ({canaries} canaries)" if canaries else "not measured"}


def count_people(settings: Settings) -> int:
    """Members of the run's data set where it is ingested, else of the images, as ingest would divide them."""
    from pd.dataset.private import PrivateDataset

    run = Run(settings.run_dir)
    if run.dataset.is_dir():
        return len(set(PrivateDataset.read_words(run.dataset).members().identities))
    from pd.dataset.readers.bucket import fetched
    from pd.dataset.readers.choose import open_source
    from pd.dataset.readers.normal import normal
    from pd.dataset.readers.source import BadRow

    names, members = set(), set()
    with fetched(settings.data) as here:
        source = normal(open_source(here))
        for row in source.rows():
            if not isinstance(row, BadRow):
                names.add(row.identity)
                if source.has_split and row.split == "member":
                    members.add(row.identity)
    if source.has_split:
        return len(members)
    return len(names) - len(holdout_identities(names, derive(settings.seed, "split"), settings.data.holdout))


def spent_by(runs: Sequence[Path]) -> Rows:
    """What runs have spent together, of the people of one data set.

    Where data sets differ their people may be the same or not: all is added up, and a row says so.

    Raises:
        UserError: a run has spent nothing that a ledger knows, or ledgers are under different relations.
    """
    whole, delta = Ledger(), 0.0
    datasets: set[str] = set()
    rows: Rows = {}
    for path in runs:
        spent, own = _spent(path)
        ledger = reduce(Ledger.and_, (one for _, one in spent))
        datasets |= {dataset for dataset, _ in spent}
        delta = max(delta, own)
        whole = whole.and_(ledger) if whole.entries else ledger
        rows[f"epsilon of {path.name} ({len(spent)} models)"] = ledger.epsilon(own).value
    rows |= {"delta": delta, "epsilon together": whole.epsilon(delta).value}
    if len(datasets) > 1:
        rows["warning"] = f"of {len(datasets)} different data sets: the sum holds for people who are in all of them"
    return rows


def _spent(path: Path) -> tuple[list[tuple[str, Ledger]], float]:
    """The data set and the ledger of each model of a run, and the largest delta.

    Raises:
        UserError: there is none.
    """
    run = Run(mirrored_run(path))
    if (path / "claim.json").is_file() and (path / "ledger.json").is_file():  # a classifier of --images has no run
        return _of_release(path)
    try:
        trees = [json.loads(file.read_text(encoding="utf-8")) for file in (run.ledger, run.classifier_ledger) if file.exists()]
        spent = [(str(model["dataset"]), Ledger.from_json(model["ledger"])) for tree in trees for model in models(tree)]
        delta = max(float(tree["delta"]) for tree in trees)
        if not spent:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        fix = "`pd formal` and `pd classifier` write one"
        raise UserError("no ledger in this run", code="bad-ledger", where=str(path), fix=fix) from None
    return spent, delta


def _of_release(folder: Path) -> tuple[list[tuple[str, Ledger]], float]:
    """The same of a released model's folder, whose data set is not known."""
    try:
        delta = float(json.loads((folder / "claim.json").read_text(encoding="utf-8"))["delta"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        raise UserError("no claim in this folder", code="bad-ledger", where=str(folder), fix="name one that pd wrote") from None
    return [(f"of {folder.absolute()}", Ledger.load(folder / "ledger.json"))], delta


def _numbers(model: ModelSettings, settings: Settings) -> tuple[int, int]:
    """Trained weights of the UNet, and numbers of one of its outputs; nothing is downloaded for it."""
    from pd.diffusion.adapter import choose_trained
    from pd.diffusion.components import build

    parts = build(model, settings.data, 0)
    choose_trained(parts.unet, model.unet_training)
    channels, height, width = parts.latent_shape
    return sum(value.numel() for value in parts.unet.parameters() if value.requires_grad), channels * height * width
