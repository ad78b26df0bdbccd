"""Ingest: read the private images, set bad ones aside or stop, split identities into members and hold-out."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from pd.config import Settings
from pd.dataset.clips import ClipFrames, list_clips
from pd.dataset.decoded_files import Decode, decoded_by
from pd.dataset.decoding import decoded_rows
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset
from pd.dataset.readers.source import Source
from pd.dataset.readers.video import CLIPS_A_SHARD, source_of_clips
from pd.engine.ray_start import cluster_address
from pd.engine.shared_folder import in_bucket
from pd.errors import UserError
from pd.progress import Progress
from pd.release.rare_words import RareWords
from pd.release.real_names import RealNames
from pd.release.sums import sign
from pd.stages.base import Facts
from pd.store.atomic import write_folder
from pd.store.context import Context
from pd.store.mirror import remove


def execute(context: Context) -> Facts:
    run, data = context.run, context.settings.data
    if context.settings.release.signing_key:
        sign(b"a key that does not sign is told now, not at the end", context.settings.release.signing_key)
    shards = run.work / "clips", run.work / "pictures"
    source = _clips(context, shards[0])
    with write_folder(run.dataset) as folder, context.reporter.task("images") as progress:
        report = ingest(data, context.seed("split"), folder, progress, source, _decode(context, shards[1], progress))
        _refuse_telling_name(context.settings, folder)
    for each in shards:
        shutil.rmtree(each, ignore_errors=True)
        remove(each)
    for line in report.lines():
        context.reporter.say(f"  {line}")
    return report.facts()


def _decode(context: Context, shards: Path, progress: Progress) -> Decode:
    """Decoding by workers of a cluster; this machine's cores decode where there is none, or the images lie in a bucket."""
    data, run = context.settings.data, context.run
    if data.path is None or in_bucket(data.path) or not cluster_address(context.settings.address):
        return decoded_rows
    from pd.engine.map_images import SHARD_ROWS, Mapper
    from pd.engine.stream.make import Crew

    mapper = Mapper(shards, Crew(data.video.workers, 0.0, context.settings.address, "data.video"), run)

    def told(done: int, total: int, info: Mapping[str, object]) -> None:
        progress(done, total, {**info, "decoding": "by workers"})

    return decoded_by(lambda function, name: mapper.tables(function, name, SHARD_ROWS, told), "files")


def _clips(context: Context, shards: Path) -> Source | None:
    """The frames of video, by workers where it is much; None for other readers, and for clips in a bucket.

    Raises:
        UserError: no clip, or a package is missing.
    """
    data, run = context.settings.data, context.run
    if data.reader != "video" or data.preset is not None or data.path is None:
        return None
    dropped: tuple[str, ...] = ()
    if data.drop_flagged:
        from pd.stages.screen import screen_data

        # The stage `screen`, which comes later, finds frames and trainings done.
        dropped = screen_data(context, run.work / "screen" / "before").flagged
    if in_bucket(data.path):
        return None
    from pd.engine.map_images import Mapper
    from pd.engine.stream.make import Crew

    mapper = Mapper(shards, Crew(data.video.workers, 0.0, context.settings.address, "data.video"), run)
    listed = list_clips(data.path, data)
    function = ClipFrames(listed.clips, data)
    function.refuse_missing_packages()
    return source_of_clips(listed, data, lambda: mapper.tables(function, "frames", CLIPS_A_SHARD), dropped)


def _refuse_telling_name(settings: Settings, folder: Path) -> None:
    """The run's name stands in its release, so it is looked at as `pd verify` will look at it, before anything is trained.

    Raises:
        UserError: it is the name of a person of the data, or a word that few members share.
    """
    real, k = PrivateDataset.read_words(folder), settings.generate.prompt_k
    telling = RealNames(real.identities).in_text(f'"{settings.name}"')
    if telling or RareWords(real, k, [settings.data.generic]).in_texts([settings.name]):
        of_whom = (
            "is the name of a person of the data" if telling else f"holds a word of the data that fewer than {k} members share"
        )
        raise UserError(
            f"'{settings.name}' {of_whom}, and stands in the release",
            code="bad-name",
            where="name",
            fix="call the run something else",
        )
