"""Candidates from the teacher, scored, in shards: any number of workers, any number of crashes, the same rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pd.config import DataSettings, GenerateSettings, digest_of
from pd.dataset.external import Listing, fingerprint
from pd.dataset.images import Mode
from pd.engine.stream.gallery_holders import held_gallery
from pd.engine.stream.make import Crew, run_shards
from pd.engine.stream.shards import Shard, bad_images, plan, whole_shards
from pd.filters.decide import Preview
from pd.filters.prompts import Prompts
from pd.filters.scorer import scorer_digest
from pd.progress import Progress
from pd.store.files import digest_folder
from pd.store.places import Place


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
    preview: Preview | None = None,
    besides: Sequence[Shard] | None = None,
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
        preview: what the filter would say, for progress alone; nothing that is written depends on it.
        besides: these shards instead of the settings' candidates; other whole ones in `out` stay.

    Returns:
        `candidates`, how many were `made` now, `seconds` of work by phase, and the `bottleneck` among them.
    """
    from pd.engine.stream.generator import Generator  # diffusers is slow to import, and scoring does without

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
    arguments = {"teacher": teacher.absolute(), "prompts": prompts, "seed": seed, "mode": mode, "preview": preview}
    if besides is None:
        shards = plan(settings.candidates, settings.shard_size, settings.batch)
    else:
        shards = sorted({*besides, *whole_shards(out, inputs)}, key=lambda shard: shard.index)
    return make_shards(
        Generator,
        arguments,
        shards,
        asdict,
        reid=reid,
        gallery=gallery,
        settings=settings,
        out=out,
        inputs=inputs,
        reads=(teacher,),
        address=address,
        progress=progress,
    )


def score_images(
    *,
    source: Place,
    images: Listing,
    reid: Path,
    gallery: Path,
    data: DataSettings,
    settings: GenerateSettings,
    out: Path,
    address: str | None,
    progress: Progress,
    preview: Preview | None = None,
) -> Mapping[str, Any]:
    """Score other people's images, as `generate` scores candidates; the id of each is its name.

    Args:
        source: a folder of images, of Parquet files or of tar shards, or one such file; every node must reach it.
        images: as `pd.dataset.external.list_images` lists them.
        reid: the re-identification network's folder.
        gallery: the member gallery's folder.
        data: size and mode to bring images to, and whether a bad image stops (`on_bad_image`).
        settings: shard_size, batch, workers and gpus_per_worker.
        out: the folder for shards, columns as `pd.filters.table.SCORED`.
        address: the Ray cluster.
        progress: called as it goes.
        preview: as for `generate`.

    Returns:
        As `generate`, and `bad`: a line for each image that was set aside.

    Raises:
        UserError: a bad image where `data.on_bad_image` is `stop`.
    """
    from pd.engine.stream.image_scorer import ImageScorer

    inputs = digest_of(
        {
            "source": fingerprint(source, images),
            "scorer": scorer_digest(reid, gallery),
            "data": data.model_dump(include={"size", "mode", "resize", "on_bad_image", "max_pixels"}),
            "batch": settings.batch,
        }
    )
    shards = plan(len(images), settings.shard_size, settings.batch)

    def row_of(shard: Shard) -> dict[str, Any]:
        listed = vars(images.take(range(shard.start, shard.stop)))
        return {**asdict(shard), **{name: value for name, value in listed.items() if value is not None}}

    arguments = {"source": source, "data": data, "preview": preview}
    facts = make_shards(
        ImageScorer,
        arguments,
        shards,
        row_of,
        reid=reid,
        gallery=gallery,
        settings=settings,
        out=out,
        inputs=inputs,
        address=address,
        progress=progress,
    )
    return {**facts, "bad": bad_images(out, shards)}


def make_shards(
    actor: type,
    arguments: Mapping[str, Any],
    shards: list[Shard],
    row_of: Callable[[Shard], Mapping[str, Any]],
    *,
    reid: Path,
    gallery: Path,
    settings: GenerateSettings,
    out: Path,
    inputs: str,
    reads: tuple[Path, ...] = (),
    address: str | None,
    progress: Progress,
) -> dict[str, Any]:
    """Make the shards that are not finished by workers who compare with the members.

    Args:
        actor: built in each worker with `arguments` and `reid`, `gallery`, `settings`, `out` and `inputs`; called with a
            row, it writes a shard and returns what `stream.work.done_row` makes.
        arguments: what else it is built with.
        shards: all of them, finished or not.
        row_of: what an actor is told of a shard.
        reid: the re-identification network's folder.
        gallery: the member gallery's folder.
        settings: batch, workers, gpus_per_worker and gallery_parts.
        out: the folder for shards.
        inputs: digest of all that rows are made from.
        reads: files and folders of the run that workers read, beside networks and gallery.
        address: the Ray cluster.
        progress: called as it goes.

    Returns:
        As `generate`.

    Raises:
        UserError: workers do not fit, one raised it, or shards are missing in the end.
    """

    @contextmanager
    def held() -> Iterator[Mapping[str, Any]]:
        with held_gallery(gallery.absolute(), settings.gallery_parts) as members:
            yield {"gallery": members}

    facts = run_shards(
        actor,
        {**arguments, "reid": reid.absolute(), "settings": settings},
        shards,
        row_of,
        crew=Crew(settings.workers, settings.gpus_per_worker, address, "generate"),
        out=out,
        inputs=inputs,
        reads=(*reads, reid, gallery),
        progress=progress,
        more=held,
    )
    return {"candidates": facts.pop("total"), **facts}
