"""Audit: sample and attack every arm, and write what leaks to `private/audit.json`; what of that is public, to `release/`."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pd.audit.attackers.choose import ATTACKERS, named
from pd.audit.attackers.distilled import Distilled
from pd.audit.figures import NotMeasured
from pd.audit.filter_figures import filter_figures
from pd.audit.model_attacks import infer_membership
from pd.audit.run import audit
from pd.audit.samples import sample_model
from pd.audit.subjects import shared_of
from pd.config import Settings
from pd.dataset.images import Mode, Pixels, to_arrays
from pd.dataset.mapping import MapRows
from pd.dataset.parquet_images import BLOCK_BYTES, Images, held_bytes
from pd.dataset.real import real_images
from pd.dataset.synthetic import SyntheticDataset
from pd.diffusion.mapped import RoundTrips
from pd.engine.map_images import Mapper
from pd.engine.shadows import shadow_count, shadow_models
from pd.engine.stream.make import Crew
from pd.errors import UserError
from pd.filters.captions import prompts_of
from pd.reid.network import network_folders
from pd.report.formatting import excess_of
from pd.report.public import public_audit
from pd.stages.base import Facts
from pd.stages.condense import parts_of
from pd.stages.few_labels import worth_of_few
from pd.stages.public import public_people
from pd.store.atomic import write_folder, write_json
from pd.store.context import Context
from pd.store.files import digest_file
from pd.store.run import Run

_WEIGHTS = "model.safetensors"  # of a network that `pd reid` wrote


def execute(context: Context) -> Facts:
    run, settings, reporter = context.run, context.settings, context.reporter
    if "formal" in settings.audit.arms and settings.formal is None:
        raise UserError(
            "there is no model with a guarantee",
            code="bad-options",
            where="audit.arms",
            fix="add a section `formal`, or leave the arm out",
        )
    refuse_own_networks(settings.audit.attackers, run.reid)
    real = real_images(run, settings)
    prompts = prompts_of(real, settings)
    map_rows = mapper(context)
    with write_folder(run.all_samples) as folder:
        for arm in settings.audited_arms:
            if arm in settings.audit.sampled_arms:
                with reporter.task(f"{arm} samples") as progress:
                    seed = context.seed("samples")
                    samples = sample_model(_model(run, arm), prompts, settings, seed, progress, map_rows)
            elif arm == "condensed":
                assert settings.condense is not None
                samples = parts_of(SyntheticDataset.open(run.condensed / "data"), settings.condense.factor)
            else:  # they are there: what the teacher made, and what is released of it, which may be fewer than `audit.samples`
                files = sorted((_data(run, settings) if arm == "kept" else run.generated).glob("*.parquet"))
                samples = SyntheticDataset.open(files)
                if arm == "kept" and settings.generate.tops_up:  # those made besides come last, and are asked about, too
                    order = np.random.default_rng(context.seed("audit", "kept")).permutation(len(samples))
                    samples = samples.take(np.sort(order[: settings.audit.samples]))
                samples = samples.first(settings.audit.samples)
            samples.write(folder / arm)
    arms: dict[str, SyntheticDataset] = {arm: _held(SyntheticDataset.open(run.samples(arm))) for arm in settings.audited_arms}
    with reporter.task("audit") as progress:
        round_trip = partial(_round_trip, run.teacher, mode=settings.data.mode, map_rows=map_rows)
        figures = audit(
            real,
            arms,
            round_trip,
            settings.audit,
            settings.seed,
            progress,
            _kept(run),
            shown="kept",
            voted=voters(settings),
            public=public_people(settings, real) if _learns_from_public(settings) else None,
            map_rows=map_rows,
        )
    models = {arm: _model(run, arm) for arm in arms if arm not in ("kept", "condensed")}
    shadows = shadow_models(context, real) if shadow_count(settings) else ()
    inferred = infer_membership(context, real, models, map_rows, shadows) if models else {}
    images = NotMeasured(why="no model to ask: these are images")
    asked = {name: found.model_copy(update={"membership": inferred.get(name, images)}) for name, found in figures.arms.items()}
    reporter.say("testing the filter with planted leaks")
    beside: dict[str, Any] = {
        "filter": filter_figures(context, real, round_trip),
        "shared": shared_of(real, settings.generate.prompt_k),
    }
    if settings.audit.utility == "semi_vit":
        released = next((name for name in ("kept", "filtered") if name in arms), None)
        beside["few_labels"] = (
            worth_of_few(real, released, arms[released], settings, run.work / "few_labels", reporter)
            if released is not None
            else NotMeasured(why="neither `kept` nor `filtered` is in audit.arms")
        )
    whole = figures.model_copy(update={"arms": asked, **beside})
    write_json(run.audit, whole.as_json())
    write_json(run.release_audit, public_audit(whole, settings.unpublished_arms).as_json())
    map_rows.done()
    return {arm: round(excess.value, 4) for arm in whole.arms if (excess := excess_of(whole.arms[arm]))}


def voters(settings: Settings) -> list[str]:
    """Families with a vote in the filter, by the names that attackers have: its spaces, and how its networks are made."""
    methods = [method.name for method in settings.reid.methods] if settings.filter.reid else []
    return [*settings.filter.families, *methods]


def _learns_from_public(settings: Settings) -> bool:
    """Whether the public pictures must be of people: those of a private training or its queries need not."""
    learning = any(issubclass(ATTACKERS[name], Distilled) for name in named(settings.audit.attackers) if name in ATTACKERS)
    return learning or (settings.formal is None and settings.classifier is None)


def refuse_own_networks(attackers: Sequence[str], reid: Path) -> None:
    """A filter that is judged by its own network looks safe by construction.

    Args:
        attackers: as settings name them.
        reid: the networks of the run's filter.

    Raises:
        UserError: an attacker `network:PATH` has the very weights of one of these.
    """
    own = {digest_file(file) for folder in network_folders(reid) if (file := folder / _WEIGHTS).is_file()}
    for name in attackers:
        kind, _, path = name.partition(":")
        if kind == "network" and (file := Path(path, _WEIGHTS)).is_file() and digest_file(file) in own:
            raise UserError(
                f"'{name}' is the filter's own network, which its samples were chosen by",
                code="bad-options",
                where="audit.attackers",
                fix="name one of another run, with another seed or other people",
            )


def _data(run: Run, settings: Settings) -> Path:
    """The images that are to be released."""
    return run.student_data if settings.release.data == "student" else run.kept


def _kept(run: Run) -> npt.NDArray[np.bool_]:
    """Which candidates the filter keeps; the first of them are the teacher's samples."""
    tables = [pq.read_table(file, columns=["keep"]) for file in sorted(run.candidates.glob("*.parquet"))]
    return np.concatenate([table["keep"].to_numpy() for table in tables])


def _model(run: Run, arm: str) -> Path:
    """An arm's diffusers folder."""
    return {"teacher": run.teacher, "filtered": run.student, "formal": run.formal / "model"}.get(arm) or run.arm(arm)


def mapper(context: Context) -> Mapper:
    """Who samples and measures: this process where there is little, else workers."""
    run, settings = context.run, context.settings
    crew = Crew(settings.audit.workers, settings.audit.gpus_per_worker, settings.address, "audit")
    reads = (run.dataset, run.teacher, run.student, *(run.arm(arm) for arm in (*settings.audit.trained_arms, "early")))
    return Mapper(run.work / "audit", crew, run, reads)


def _held(samples: SyntheticDataset) -> SyntheticDataset:
    """With their pixels in memory, where these are few: all attackers look at them."""
    few = held_bytes(samples.images) <= BLOCK_BYTES
    return replace(samples, images=samples.images[:]) if few else samples


def _round_trip(model: Path, images: Images, *, mode: Mode, map_rows: MapRows) -> Pixels:
    """Images through the teacher's autoencoder and back: what of a person it can carry at all."""
    trips = RoundTrips(model.absolute(), images, mode)
    return to_arrays(map_rows(trips, f"round-trips-{trips.key}")["image"])
