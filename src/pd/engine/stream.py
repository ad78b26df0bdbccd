"""Candidates from the teacher, scored, in shards: any number of workers, any number of crashes, the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pd.config import DataSettings, GenerateSettings, digest_of
from pd.dataset.foreign import fingerprint
from pd.dataset.images import Mode
from pd.engine.shards import Shard, bad_images, missing, plan, tidy
from pd.engine.stream_pool import lay_out, run_pool
from pd.errors import UserError
from pd.filters.decide import Foretell
from pd.filters.prompts import Prompts
from pd.filters.scorer import scorer_digest
from pd.progress import Progress
from pd.store.files import digest_folder


def generate(
    *,
    teacher: Path,
    reid: Path,
    gallery: Path,
    prompts: Prompts,
    settings: GenerateSettings,
    seed: int,
    mode: Mode,
    out: Path,
    address: str | None,
    progress: Progress,
    foretell: Foretell | None = None,
) -> Mapping[str, Any]:
    """Sample and score `settings.candidates` candidates; shards that are finished and whole stay as they are.

    Args:
        teacher: a diffusers folder.
        reid: the re-identification network's folder.
        gallery: the member gallery's folder.
        prompts: what samples are asked for.
        settings: how many, how, and on how many workers.
        seed: of the whole set.
        mode: grey or rgb.
        out: the folder for shards, columns as `pd.filters.table.SCORED`.
        address: the Ray cluster.
        progress: called as it goes.
        foretell: what the filter would say, for progress alone; nothing that is written depends on it.

    Returns:
        `candidates`, how many were `made` now, and `seconds` of work by phase.
    """
    from pd.engine.stream_generator import Generator  # diffusers is slow to import, and scoring does without

    inputs = digest_of(
        {
            "teacher": digest_folder(teacher),
            "scorer": scorer_digest(reid, gallery),
            "prompts": prompts.digest(),
            "seed": seed,
            "mode": mode,
            "sampling": settings.model_dump(include={"sampler_steps", "guidance", "precision", "batch"}),
        }
    )
    arguments = {"teacher": teacher.absolute(), "prompts": prompts, "seed": seed, "mode": mode, "foretell": foretell}
    shards = plan(settings.candidates, settings.shard_size, settings.batch)
    rows = {shard.index: asdict(shard) for shard in shards}
    return _stream(Generator, arguments, shards, rows, reid, gallery, settings, out, inputs, address, progress)


def score_images(
    *,
    source: Path,
    names: Sequence[str],
    reid: Path,
    gallery: Path,
    data: DataSettings,
    settings: GenerateSettings,
    out: Path,
    address: str | None,
    progress: Progress,
    foretell: Foretell | None = None,
) -> Mapping[str, Any]:
    """Score other people's images, as `generate` scores candidates; the id of each is its name.

    Args:
        source: a folder of images, of Parquet files or of tar shards, or one such file.
        names: its images, as `pd.dataset.foreign.list_images` lists them.
        reid: the re-identification network's folder.
        gallery: the member gallery's folder.
        data: size and mode to bring images to, and whether a bad image stops (`on_bad_image`).
        settings: shard_size, batch, workers and gpus_per_worker.
        out: the folder for shards, columns as `pd.filters.table.SCORED`.
        address: the Ray cluster.
        progress: called as it goes.
        foretell: as for `generate`.

    Returns:
        As `generate`, and `bad`: a line for each image that was set aside.

    Raises:
        UserError: a bad image where `data.on_bad_image` is `stop`.
    """
    from pd.engine.stream_examiner import Examiner

    inputs = digest_of(
        {
            "source": fingerprint(source, names),
            "scorer": scorer_digest(reid, gallery),
            "data": data.model_dump(include={"size", "mode", "resize", "on_bad_image", "max_pixels"}),
            "batch": settings.batch,
        }
    )
    shards = plan(len(names), settings.shard_size, settings.batch)
    rows = {shard.index: {**asdict(shard), "names": names[shard.start : shard.stop]} for shard in shards}
    arguments = {"source": source.absolute(), "data": data, "foretell": foretell}
    facts = _stream(Examiner, arguments, shards, rows, reid, gallery, settings, out, inputs, address, progress)
    return {**facts, "bad": bad_images(out, shards)}


def _stream(
    actor: type,
    arguments: Mapping[str, Any],
    shards: list[Shard],
    rows: Mapping[int, Mapping[str, Any]],
    reid: Path,
    gallery: Path,
    settings: GenerateSettings,
    out: Path,
    inputs: str,
    address: str | None,
    progress: Progress,
) -> dict[str, Any]:
    """Make the shards that are not finished, and see that they have arrived."""
    out = out.absolute()
    total, todo = shards[-1].stop, missing(out, shards, inputs)
    layout = lay_out(settings, len(todo), address) if todo else None
    tidy(out, shards, todo)
    seconds: dict[str, float] = {}
    if layout:
        shared: dict[str, Any] = {"reid": reid.absolute(), "gallery": gallery.absolute(), "settings": settings}
        shared |= {"out": out, "inputs": inputs}
        pending = [rows[shard.index] for shard in todo]
        seconds = run_pool(actor, {**arguments, **shared}, pending, layout, progress=progress, total=total)
    if left := missing(out, todo, inputs):
        raise UserError(
            f"{len(left)} of {len(todo)} shards did not arrive",
            where=str(out),
            fix="keep the run folder on storage that all nodes share, and run the same command again",
        )
    made = sum(shard.stop - shard.start for shard in todo)
    return {"candidates": total, "made": made, "seconds": {phase: round(spent, 2) for phase, spent in seconds.items()}}
