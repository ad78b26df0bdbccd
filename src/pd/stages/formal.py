"""Formal: train the model with an epsilon, and write `release/formal` with its ledger, claim and card."""

import shutil

import numpy as np
import torch

from pd.config import FormalSettings, Settings
from pd.dataset.private import PrivateDataset
from pd.dataset.real import real_words
from pd.dataset.synthetic import SyntheticDataset
from pd.diffusion import autoencoder, export
from pd.diffusion.components import Components, build
from pd.diffusion.sampler import Sampler
from pd.dp.budget import prospects
from pd.dp.canaries import LowerBound
from pd.engine.fit import fit
from pd.errors import UserError
from pd.filters.captions import captions_of
from pd.formal.canaries import twin
from pd.formal.make import Order, key_of, make
from pd.formal.people import People, bounded
from pd.formal.plan import Plan, make_plan
from pd.formal.private_training import same_plan
from pd.formal.public import public_latents
from pd.release.formal import write_claim
from pd.release.lineage import weights_sha256
from pd.report.formal_card import write_formal_card
from pd.stages.base import Facts
from pd.stages.spending import enter
from pd.store.atomic import write_folder
from pd.store.context import Context
from pd.store.files import digest_folder
from pd.training.loop import fit_here


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    formal = settings.formal
    assert formal is not None
    members = real_words(run, settings).members()
    captions = captions_of(members, settings)
    distinct = sorted(set(captions))
    people = len(set(members.identities))
    plan = make_plan(formal, people)
    if plan.reading == "paper" and not formal.accept_no_guarantee:
        raise UserError(
            "dp_sad's published accounting is no guarantee, and would be released",
            where="formal.accounting",
            fix="set accounting: sound, or accept_no_guarantee: true if that is what you want",
        )
    parts = build(formal.model, settings.data, context.seed("formal", "start"))
    weights = sum(value.numel() for value in parts.unet.parameters())
    expected = prospects(formal.epsilon, formal.delta, people, weights, formal.teachers, int(np.prod(parts.latent_shape)))
    context.reporter.say(f"  {in_words(formal, people, expected.dp_sgd, expected.word)}")
    work = run.work / "formal"
    source = key_of(work, formal.reproducible, context.seed("formal"))
    same_plan(work, plan)  # the same noise at two scales would give itself away
    plan.ledger.save(work / "ledger.json")  # before anything is spent
    held = work / "people.safetensors"
    if not held.exists():
        context.reporter.say("  encoding the members' images")
        rows, first = bounded(members.identities, formal.images_per_person, context.seed("formal"))
        pixels = PrivateDataset.member_images(run.dataset).take(rows)
        number = {caption: i for i, caption in enumerate(distinct)}
        of = torch.tensor([number[captions[row]] for row in rows])
        People(autoencoder.encode(parts.vae, pixels[:]), of, torch.from_numpy(first)).save(held)
    loaded = People.load(held)
    public = None
    if formal.public:
        public = public_latents(settings, parts.vae, distinct, PrivateDataset.read(run.dataset))
    order = Order(formal, settings.data, plan, distinct, work, context.seed("formal"), fit if formal.workers else fit_here)
    made = make(order, loaded, source, context.reporter.task, public)
    bound = twin(order, loaded, context.reporter.task, public) if formal.canaries else None
    facts = _write(context, plan, made, captions, weights, bound)
    shutil.rmtree(work)  # the key with it
    return facts


def in_words(formal: FormalSettings, people: int, signal: float, word: str) -> str:
    """Whether a model of any use can be expected, for a terminal."""
    counted = f"(mu n)^2 / weights = {signal:.3g} for {people:,} people at epsilon {formal.epsilon:g}"
    if word == "useful":
        return f"a usable model is to be expected: {counted}"
    if word == "doubtful":
        return f"whether the model will be of use is doubtful: {counted}; about 300 are needed"
    return (
        f"a guarantee of any use is out of reach: {counted}, where about 300 are needed. One person among {people:,} can only "
        "be hidden by noise that hides the others too; take more people, or a far larger epsilon"
    )


def _write(
    context: Context, plan: Plan, made: Components, captions: list[str], weights: int, bound: LowerBound | None
) -> Facts:
    run, settings = context.run, context.settings
    formal = settings.formal
    assert formal is not None
    sound = plan.reading == "sound"
    with write_folder(run.formal) as folder:
        export.export(made, folder / "model")
        if formal.release == "all" and formal.samples:
            with context.reporter.task("formal samples") as progress:
                _samples(folder / "model", settings, captions, context.seed("formal", "samples"), progress).write(
                    folder / "data"
                )
        found = write_claim(
            folder,
            plan.ledger,
            formal.delta,
            people=plan.people,
            sound=sound,
            accepted=formal.accept_no_guarantee,
            reproducible=formal.reproducible,
        )
        write_formal_card(folder / "README.md", settings.name, formal, plan.ledger, found, plan.people, weights, bound)
    enter(run.ledger, digest_folder(run.dataset), weights_sha256(run.formal / "model" / "unet"), plan.ledger, formal.delta)
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
