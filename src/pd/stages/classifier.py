"""Classifier: train the one with an epsilon, attack it, and write `release/classifier` with its ledger, claim and card."""

from dataclasses import asdict
from typing import Any

from pd.release.lineage import weights_sha256
from pd.stages.base import Facts
from pd.stages.classifier_audit import audited, usefulness
from pd.stages.classifier_steps import cleared, inputs, made, prepared, released, released_ledger
from pd.stages.spending import Claimed, enter
from pd.store.atomic import write_json
from pd.store.context import Context
from pd.store.files import digest_folder


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    how = settings.classifier
    assert how is not None
    seed = context.seed("classifier")
    held, public = inputs(context, how)
    plan = prepared(how, held, seed, context.reporter)
    dataset = digest_folder(run.dataset)
    work = run.work / "classifier"
    found = made(how, plan, held, public, work, seed, dataset, context.reporter)
    useful = usefulness(context, found.folder, held.classes)
    beside = usefulness(context, found.baseline[0], held.classes) if found.baseline else None
    ledger = plan.ledger if found.baseline is None else plan.ledger.and_(found.baseline[1].ledger)
    # before the release is there: one that no ledger knows could be given away
    claimed = Claimed.of(
        released_ledger(found), how.delta, held.people, guarantee=plan.reading == "sound", accepted=how.accept_no_guarantee
    )
    enter(run.classifier_ledger, dataset, weights_sha256(found.folder), ledger, how.delta, claimed)
    epsilon = released(run.classifier, settings.name, found, held, useful.compared(beside))
    audit: dict[str, Any] = {"utility": useful.to_json()}
    if beside is not None:
        audit["dp_sgd"] = beside.to_json()
    if how.shadows:
        audit["membership"] = audited(context, found, held.classes)
    if found.bound is not None:
        audit["lower_bound"] = asdict(found.bound)
    write_json(run.classifier_audit, audit)
    cleared(work)
    return {
        "classes": len(held.classes),
        "people": held.people,
        "queries": plan.queries,
        "delta": how.delta,
        "epsilon": epsilon.value if plan.reading == "sound" else "no guarantee",
        "accuracy, hold-out people": useful.accuracy.value if useful.accuracy.n else "not measured",
        "lower bound": "not measured" if found.bound is None else found.bound.epsilon,
    }
