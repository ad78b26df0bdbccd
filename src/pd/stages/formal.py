"""Formal: train the model with an epsilon, and write `release/formal` with its ledger, claim and card."""

import shutil
from pathlib import Path

import numpy as np
import torch

from pd.config import FormalSettings, Settings, digest_of
from pd.dataset.private import PrivateDataset
from pd.dataset.real import real_words
from pd.dataset.synthetic import SyntheticDataset
from pd.diffusion import autoencoder, export
from pd.diffusion.adapter import choose_trained
from pd.diffusion.components import Components, build
from pd.diffusion.sampler import Sampler
from pd.dp.budget import Prospects, prospects
from pd.dp.canaries import LowerBound
from pd.engine.fit import fit
from pd.engine.fit_many import fit_many
from pd.filters.captions import captions_of
from pd.formal.canaries import twin
from pd.formal.make import Order, key_of, make
from pd.formal.people import People, bounded
from pd.formal.plan import Plan, published, way
from pd.formal.private_training import same_plan
from pd.formal.public import public_latents
from pd.release.formal import write_claim
from pd.release.lineage import weights_sha256
from pd.report.formal_card import write_formal_card
from pd.stages.base import Facts
from pd.stages.guarantees import checked
from pd.stages.spending import Claimed, enter, is_entered
from pd.store.atomic import write_folder
from pd.store.context import Context
from pd.store.files import digest_folder
from pd.training.loop import fit_here

# Settings that a begun training may be given anew: its weights are the same, up to rounding.
_FREE = {"accept_no_guarantee", "canaries", "samples", "release", "workers", "checkpoint_every", "micro_batch"}
_OF = {"dp_sgd": "people", "ensemble": "teachers"}


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    formal = settings.formal
    assert formal is not None
    members = real_words(run, settings).members()
    captions = captions_of(members, settings)
    distinct = sorted(set(captions))
    people = len(set(members.identities))
    plan = checked(formal, people)
    parts = build(formal.model, settings.data, context.seed("formal", "start"))
    weights = trained_weights(parts, formal)
    outputs = int(np.prod(parts.latent_shape))
    expected = prospects(formal.epsilon, formal.delta, people, weights, formal.teachers, outputs, way(formal))
    context.reporter.say(f"  {in_words(formal, people, expected)}")
    if plan.reading == "paper":
        context.reporter.say(f"  {published(plan, formal.delta).in_words()}")
    public = None
    if formal.public:  # what is wrong with it is said before anything is begun
        public = public_latents(settings, parts.vae, distinct, PrivateDataset.open(run.dataset))
    work, dataset = run.work / "formal", digest_folder(run.dataset)
    source = key_of(work, formal.reproducible, context.seed("formal"))
    made_of = _made_of(context, dataset, captions)
    same_plan(work, plan, made_of)  # the same noise at two scales would give itself away
    plan.ledger.save(work / "ledger.json")  # before anything is spent
    held = work / "people.safetensors"
    if not held.exists():
        context.reporter.say("  encoding the members' images")
        rows, first = bounded(members.identities, formal.images_per_person, context.seed("formal"))
        pixels = PrivateDataset.member_images(run.dataset).take(rows)
        number = {caption: i for i, caption in enumerate(distinct)}
        of = torch.tensor([number[captions[row]] for row in rows])
        People(autoencoder.encode(parts.vae, pixels), of, torch.from_numpy(first)).save(held)
    loaded = People.load(held)
    trainer = fit if formal.workers else fit_here
    order = Order(formal, settings.data, plan, distinct, work, context.seed("formal"), trainer, fit_many)
    made: Components | Path
    if is_entered(run.ledger, weights_sha256(run.formal / "model" / "unet"), plan.ledger, made_of):
        context.reporter.say("  the model is there: what has changed does not train it, or spend anything, again")
        made = run.formal / "model"
    else:
        made = make(order, loaded, source, context.reporter.task, public)
    bound = twin(order, loaded, context.reporter.task, public) if formal.canaries else None
    facts = _write(context, plan, made, captions, weights, bound, dataset, made_of)
    shutil.rmtree(work)  # the key with it
    return facts


def trained_weights(parts: Components, formal: FormalSettings) -> int:
    """Numbers of the UNet that are trained; of a base with additions, the additions'."""
    choose_trained(parts.unet, formal.model.unet_training)
    return sum(value.numel() for value in parts.unet.parameters() if value.requires_grad)


def in_words(formal: FormalSettings, people: int, expected: Prospects) -> str:
    """Whether a model of any use can be expected, for a terminal."""
    figure = {"dp_sgd": "(mu n)^2 / weights", "ensemble": f"(mu K / 2)^2 / outputs of {formal.teachers} teachers"}[expected.way]
    counted = f"{figure} = {expected.signal:.3g} for {people:,} people at epsilon {formal.epsilon:g}"
    if expected.word == "useful":
        return f"a usable model is to be expected: {counted}"
    if expected.word == "doubtful":
        return f"whether the model will be of use is doubtful: {counted}; about 300 are needed"
    return (
        f"a guarantee of any use is out of reach: {counted}, where about 300 are needed. One person among {people:,} can only "
        f"be hidden by noise that hides the others too; take more {_OF[expected.way]}, or a far larger epsilon"
    )


def _made_of(context: Context, dataset: str, captions: list[str]) -> str:
    """Digest of what the weights follow from, but for the key and the plan."""
    formal, public = context.settings.formal, context.settings.public
    assert formal is not None
    beside = [public.model_dump(mode="json"), digest_folder(public.path)] if formal.public and public else None
    return digest_of([dataset, captions, context.seed("formal"), formal.model_dump(mode="json", exclude=_FREE), beside])


def _write(
    context: Context,
    plan: Plan,
    made: Components | Path,
    captions: list[str],
    weights: int,
    bound: LowerBound | None,
    dataset: str,
    made_of: str,
) -> Facts:
    """The folder of the release, from a trained model, or from the folder that already holds it."""
    run, settings = context.run, context.settings
    formal = settings.formal
    assert formal is not None
    sound = plan.reading == "sound"
    with write_folder(run.formal) as folder:
        if isinstance(made, Path):
            shutil.copytree(made, folder / "model")
        else:
            export.export(made, folder / "model")
        # before the release is there: one that no ledger knows could be given away
        claimed = Claimed.of(plan.ledger, formal.delta, plan.people, guarantee=sound, accepted=formal.accept_no_guarantee)
        entered = weights_sha256(folder / "model" / "unet")
        enter(run.ledger, dataset, entered, plan.ledger, formal.delta, claimed, made_of)
        if formal.release == "all" and formal.samples:
            with context.reporter.task("formal samples") as progress:
                _samples(folder / "model", settings, captions, context.seed("formal", "samples"), progress).write(
                    folder / "data"
                )
        found = write_claim(
            folder,
            plan.ledger,
            formal.delta,
            formal.model,
            people=plan.people,
            sound=sound,
            accepted=formal.accept_no_guarantee,
            reproducible=formal.reproducible,
            bound=bound,
        )
        told = None if sound else published(plan, formal.delta)
        write_formal_card(folder / "README.md", settings.name, formal, plan.ledger, found, plan.people, weights, bound, told)
    facts: dict[str, object] = {"epsilon": found.value, "delta": formal.delta, "people": plan.people, "noise": plan.noise}
    facts["lower bound"] = "not measured" if bound is None else bound.epsilon
    return facts if sound else {**facts, "epsilon": "no guarantee"}


def _samples(model, settings: Settings, captions: list[str], seed: int, progress) -> SyntheticDataset:  # type: ignore[no-untyped-def]
    """Samples of the model for captions that enough people share, in turn."""
    formal = settings.formal
    assert formal is not None
    shared = sorted(set(captions))
    sampler = Sampler(model, mode=settings.data.mode, batch=settings.generate.batch, precision=settings.generate.precision)
    prompts = [shared[i % len(shared)] for i in range(formal.samples)]
    made = []
    for start in range(0, formal.samples, settings.generate.batch):
        rows = list(range(start, min(start + settings.generate.batch, formal.samples)))
        how = settings.generate
        made.append(sampler.sample(rows, [prompts[i] for i in rows], seed, how.sampler_steps, how.guidance))
        progress(rows[-1] + 1, formal.samples, {})
    return SyntheticDataset([f"formal-{i:09d}" for i in range(formal.samples)], np.concatenate(made), prompts, {})
