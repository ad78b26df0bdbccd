"""`pd filter` and `pd audit` on images that somebody else's generator made: no teacher, no run, the same filter and attacks."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pd.audit.filter_figures import at_work
from pd.audit.results import AuditResult, FilterResult, Looked
from pd.audit.run import audit
from pd.config import DataSettings, Settings, parse_settings
from pd.dataset.decode import quiet
from pd.dataset.external import Found, part, read_images
from pd.dataset.ingest import ingest
from pd.dataset.ingest_report import IngestReport
from pd.dataset.private import PrivateDataset
from pd.dataset.readable import Readable, layout, reading
from pd.dataset.readers.guess import guess
from pd.dataset.readers.identity import EACH
from pd.dataset.synthetic import SyntheticDataset
from pd.dataset.worked_out import report_labels, report_values
from pd.engine.recognisers import recognisers
from pd.engine.runtime import connect
from pd.engine.shared_folder import check_shared
from pd.engine.stream.candidates import score_images
from pd.errors import UserError
from pd.filters.apply import apply_filter
from pd.filters.calibration import find_thresholds, unkept
from pd.filters.decide import preview
from pd.filters.prepare import prepare
from pd.progress import Progress, Reporter
from pd.seeds import derive
from pd.stages.few_labels import worth_of_few
from pd.stages.given_images import brought_in
from pd.stages.leak_steps import refuse_leaks
from pd.stages.public import public_people
from pd.stages.reid import others_of
from pd.store.atomic import disk_errors, write_json
from pd.store.places import Place
from pd.store.scratch import scratch

_FIGURES = "_figures.json"


def filter_folders(
    real: str, synthetic: str, out: Path, overrides: Sequence[str], reporter: Reporter, synthetic_as: str | None = None
) -> FilterResult:
    """Filter somebody's images against real people.

    Args:
        real: images of people, in any form that a reader or a preset reads, here or at `s3://`.
        synthetic: images, Parquet files or tar shards, nested or not, or what a reader or a preset reads; here or at `s3://`.
        out: becomes a folder of Parquet with the columns `id, seed, prompt, image, score, nearest, keep, reason` and more, and
            of `_figures.json`, what is returned (readers of Parquet pass over names that begin so).
        overrides: settings, as `key=value`; of `data` those of the pictures hold for both, all others for the real images.
        reporter: reports progress.
        synthetic_as: the reader or preset of `synthetic`; None: as it looks.

    Returns:
        `candidates`, `kept`, `threshold`, `dropped`, and `at_chosen`: how the filter does on planted copies of members'
        pictures and on strangers.
    """
    settings, source = _settings(real, overrides), Place.parse(synthetic)
    refuse_leaks(settings)
    how = _reading(source, settings.data, synthetic_as)
    images = Readable.as_it_lies(source) if how is None else None
    if out.exists() and not (out.is_dir() and all(map(_decisions, out.iterdir()))):
        raise UserError("holds other things than decisions", code="other-files", where=str(out), fix="name a new folder")
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    # Workers on other machines read the network and the synthetic images, and write the scores; the real images are this one's.
    with (
        scratch("pd-filter-", Path(tempfile.gettempdir())) as here,
        scratch(".pd-filter-", out.absolute().parent) as beside,
    ):
        if images is None:
            assert how is not None
            images = brought_in(source, how, beside / "synthetic", reporter, foreign=True)
        data, _ = _read(settings, here / "dataset", reporter)
        connect(settings.address)
        check_shared(beside, "name an --out on storage that all of them mount at the same path")
        return _filtered(data, images, beside, out, settings, reporter)


def _decisions(path: Path) -> bool:
    """Whether this is a file that `pd filter` wrote: anything else is not written over."""
    if path.suffix != ".parquet":
        return path.name == _FIGURES
    try:
        return {"keep", "reason", "score"} <= set(pq.read_schema(path).names)
    except (OSError, pa.ArrowInvalid):
        return False


def _filtered(
    data: PrivateDataset, images: Readable, folder: Path, out: Path, settings: Settings, reporter: Reporter
) -> FilterResult:
    """Train the network in a folder that all nodes see, score the images there, and decide."""
    reid = folder / "reid"
    reporter.say("training the re-identification network on the members")
    others, _ = others_of(settings, data)
    networks = recognisers(data.members(), settings, folder / "training", reporter, others)
    measured = prepare(data, networks, settings, reid)
    reporter.say(f"  on hold-out people: {measured.verification.words()}")
    if measured.verification.doubt:
        reporter.say(f"  {measured.verification.doubt}")
    thresholds = find_thresholds(measured, settings.reid.calibration, settings.filter)
    for line in unkept(measured, settings.reid.calibration, settings.filter):
        reporter.say(f"  {line}")
    reporter.say("scoring the synthetic images")
    with reporter.task("images") as progress:
        facts = score_images(
            source=images.place,
            images=images.images,
            reid=reid,
            gallery=reid,
            data=settings.data,
            settings=settings.generate,
            out=folder / "scored",
            address=settings.address,
            progress=progress,
            preview=partial(preview, settings=settings.filter, thresholds=thresholds),
        )
    for line in facts["bad"]:
        reporter.say(f"  set aside: {line}")
    with reporter.task("filter") as progress:
        scored = folder / "scored"
        counts = apply_filter(scored, out, thresholds, settings.filter, prompts=None, kept=None, progress=progress)
    reporter.say("testing the filter with planted copies and strangers")
    tested = at_work(data, reid, thresholds, settings, derive(settings.seed, "audit", "planted"))
    write_json(out / _FIGURES, {**counts, "at_chosen": tested.as_json()})
    return FilterResult.model_validate({**counts, "at_chosen": tested})


def audit_folders(
    real: str,
    synthetic: str,
    out: Path | None,
    overrides: Sequence[str],
    reporter: Reporter,
    synthetic_as: str | None = None,
) -> AuditResult:
    """Attack somebody's synthetic images.

    Args:
        real: as for `filter_folders`; a manifest's `split` column says who was a member.
        synthetic: as for `filter_folders`; `audit.samples` of the images, drawn by seed, are attacked.
        out: a file for the figures, JSON.
        overrides: as for `filter_folders`.
        reporter: reports progress.
        synthetic_as: as for `filter_folders`.

    Returns:
        As `release/audit.json`, with the one arm `synthetic`, and in `images` how these were compared: `size`, `mode`, how
        many real ones were `shrunk` or lost their colours (`coloured`), and whether members were drawn (`split_drawn`).
    """
    settings = _settings(real, overrides)
    if out:
        _check_file(out)
    source = Place.parse(synthetic)
    how = _reading(source, settings.data, synthetic_as)
    with scratch("pd-audit-", Path(tempfile.gettempdir())) as here:
        if how is None:
            images = Readable.as_it_lies(source)
        else:
            drawn = (settings.audit.samples, settings.seed)
            images = brought_in(source, how, here / "synthetic", reporter, drawn, foreign=True)
        samples = _draw(images, settings, reporter)
        data, report = _read(settings, here / "dataset", reporter)
        with reporter.task("audit") as progress:
            public = public_people(settings, data)
            figures = audit(data, {"synthetic": samples}, None, settings.audit, settings.seed, progress, public=public)
        if settings.audit.utility == "semi_vit":
            few = worth_of_few(data, "synthetic", samples, settings, here / "few_labels", reporter)
            figures = figures.model_copy(update={"few_labels": few})
    looked = Looked(
        size=settings.data.size,
        mode=settings.data.mode,
        shrunk=report.shrunk,
        coloured=report.coloured,
        split_drawn=report.split_drawn,
    )
    found = figures.model_copy(update={"images": looked})
    if out:
        write_json(out, found.as_json())
    return found


def _check_file(out: Path) -> None:
    """Before minutes of work, refuse a place for figures that cannot be written, or that holds something else.

    Raises:
        UserError: a folder, a file that is no audit's, or no place to write to.
    """
    if out.is_dir():
        raise UserError(
            "this is a folder", code="no-such-file", where=str(out), fix="name a file for the figures, such as audit.json"
        )
    with disk_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        there = out.exists()
    try:
        other = there and "arms" not in json.loads(out.read_bytes())
    except (OSError, ValueError, TypeError):
        other = True
    if other:
        raise UserError("holds something else than figures", code="other-files", where=str(out), fix="name a new file")


def _reading(source: Place, data: DataSettings, named: str | None) -> DataSettings | None:
    """How somebody's synthetic images are read: by what is named, else as they look. `data` is about the real ones."""
    kept = {"path", "reader", "preset", "identity_from"}
    own = DataSettings.model_validate({**data.model_dump(exclude=kept), **({} if named is None else layout(named))})
    how = reading(source, own, by_columns=False)
    return how and how.model_copy(update={"identity_from": EACH})  # nobody asks who is in them


def _draw(given: Readable, settings: Settings, reporter: Reporter) -> SyntheticDataset:
    """`audit.samples` of somebody's images, with prompts and labels where these lie beside them; bad ones are left out."""
    source, images = given.place, given.images
    rows = np.sort(np.random.default_rng(settings.seed).permutation(len(images))[: settings.audit.samples])
    drawn = images.take(rows)
    with quiet(), reporter.task("images") as progress:
        found = read_images(source, drawn, settings.data)
        good, pixels, bad = part(_counted(found, len(rows), progress), settings.data)
    for line in bad:
        reporter.say(f"  set aside: {line}")
    if not good:
        raise UserError("no usable image", code="no-images", where=str(source))
    prompts, labels = given.texts(drawn)
    at = {name: row for row, name in enumerate(drawn.ids)}
    kept = [at[name] for name in good]
    how = settings.data
    told = {name: report_values(name, values[kept], how.uncertain, how.unmentioned) for name, values in labels.items()}
    return SyntheticDataset(good, pixels, [prompts[row] for row in kept], told)


def _counted(found: Iterable[Found], total: int, progress: Progress) -> Iterator[Found]:
    """The same, with progress told."""
    for done, item in enumerate(found, 1):
        yield item
        progress(done, total, {})


def _settings(real: str, overrides: Sequence[str]) -> Settings:
    """Defaults with the real images as data, read as they look unless the overrides say how."""
    named = any(override.partition("=")[0].strip() in ("data.reader", "data.preset") for override in overrides)
    return parse_settings({"data": {"path": real} | ({} if named else guess(real))}, overrides, where="--set")


def _read(settings: Settings, folder: Path, reporter: Reporter) -> tuple[PrivateDataset, IngestReport]:
    """The real images, and what came in."""
    with reporter.task("real images") as progress:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        report = ingest(settings.data, derive(settings.seed, "split"), folder, progress)
    for line in report.lines():
        reporter.say(f"  {line}")
    reporter.say(f"  {_compared(settings.data, report)}")
    data = PrivateDataset.open(folder)
    return report_labels(data, settings.data.uncertain, settings.data.unmentioned), report


def _compared(data: DataSettings, report: IngestReport) -> str:
    """At what size and in which mode images are compared, and what that takes from the real ones."""
    text = f"images are compared at {data.size}x{data.size} pixels, {data.mode}"
    lost = [f"{report.shrunk} of the real ones are larger"] if report.shrunk else []
    lost += [f"{report.coloured} have colours"] if report.coloured else []
    if not lost:
        return text
    mend = [f"--set data.size={2 * data.size}"] if report.shrunk else []
    mend += ["--set data.mode=rgb"] if report.coloured else []
    return f"{text}; {' and '.join(lost)}, where a leak may lie that is not seen so: {' '.join(mend)}"
