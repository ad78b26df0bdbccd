"""Fingerprints: a run of its own with canaries in members' images, and how often teacher and student show them again.

The run is named NAME-fingerprints and made from the same settings; the ordinary run is not touched, and what has learned
canaries is not for release.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.table import Table

from pd.audit.fingerprints import Planted, choose, detect, plant
from pd.audit.results import Fingerprints, Shown
from pd.audit.samples import sample_model
from pd.config import Settings
from pd.dataset.images import encode_png, to_arrays
from pd.dataset.ingest import fingerprint as fingerprint_of_source
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset
from pd.dataset.schema import IMAGE
from pd.dataset.synthetic import SyntheticDataset
from pd.errors import UserError
from pd.filters.captions import prompts_of
from pd.progress import Reporter
from pd.seeds import derive
from pd.stages.bucket import commit_outputs, fetch_needs
from pd.stages.graph import FINGERPRINT
from pd.store.atomic import write_bytes, write_json
from pd.store.kept import keep_folder, there
from pd.store.run import Run

FALSE_POSITIVES = 0.01
_ROWS = 256  # copied at a time
STAGES = ("ingest", "reid", "teacher", "generate", "filter", "student")
_NOTE = b"# Not for release\n\nThis model learned from images with planted canaries, to measure what models remember.\n"


def prepare(settings: Settings, repetitions: Sequence[int], reporter: Reporter) -> Settings:
    """Write the images with canaries, unless they are there, and return the settings of the run that learns from them.

    Raises:
        UserError: the images cannot be read, or the repetitions do not fit them.
    """
    if settings.teacher.trained is not None:
        fix = "leave teacher.trained empty"
        raise UserError(
            "a teacher that is trained elsewhere learns no canaries", code="bad-options", where="teacher.trained", fix=fix
        )
    run = Run(settings.runs / f"{settings.name}-fingerprints")
    target = run.work / "canaries"
    asked = {
        "data": settings.data.model_dump(mode="json"),
        "source": fingerprint_of_source(settings.data),
        "seed": settings.seed,
        "repetitions": list(repetitions),
    }
    made = target / "made_from.json"
    if not there(target) or json.loads(made.read_text(encoding="utf-8")) != asked:
        with tempfile.TemporaryDirectory(prefix="pd-fingerprints-") as scratch:
            with reporter.task("images") as progress:
                ingest(settings.data, derive(settings.seed, "split"), Path(scratch), progress)
            real = PrivateDataset.read_words(Path(scratch))
            planted = _planted(real, repetitions, settings.seed)  # refuses what does not fit, so before anything is made
            with keep_folder(target) as folder:
                _write_planted(Path(scratch), real, planted, folder / "images.parquet")
                write_json(folder / made.name, asked)
    # A crop would move the canaries, and then they could not be looked for at their places.
    return settings.model_copy(
        update={
            "name": run.root.name,
            "data": settings.data.model_copy(update={"reader": "manifest", "path": (target / "images.parquet").absolute()}),
            "labels": None,  # votes name images of the source
            "generate": settings.generate.model_copy(
                update={"per_prompt": None, "shares": {}}
            ),  # canaries are not kept or dropped
            "teacher": settings.teacher.model_copy(update={"crop": None}),
            "student": settings.student.model_copy(update={"crop": None}),
        }
    )


def measure(settings: Settings, repetitions: Sequence[int], reporter: Reporter) -> Fingerprints:
    """Look for the canaries in both models' samples, and write `private/fingerprints.json`.

    Args:
        settings: what `prepare` returned; its run has a teacher, candidates and a student.
        repetitions: as `prepare` had them.
        reporter: reports progress.

    Returns:
        For each number of repetitions the share of samples with the canary.
    """
    run = Run(settings.run_dir)
    fetch_needs(FINGERPRINT, run, settings)
    write_bytes(run.card, _NOTE)
    real = PrivateDataset.open(run.dataset)
    planted = _planted(real, repetitions, settings.seed)
    samples = {"teacher": SyntheticDataset.open(sorted(run.generated.glob("*.parquet"))).first(settings.audit.samples)}
    with reporter.task("student samples") as progress:
        seed = derive(settings.seed, "samples")
        samples["student"] = sample_model(run.student, prompts_of(real, settings), settings, seed, progress)
    strangers = real.holdout().images
    found = {name: detect(made.images, strangers, planted, FALSE_POSITIVES) for name, made in samples.items()}
    figures = Fingerprints(
        repetitions=list(repetitions),
        **{name: [one.canary for one in shares] for name, shares in found.items()},
        control=Shown(**{name: [one.control for one in shares] for name, shares in found.items()}),
        members=sum(split == "member" for split in real.splits),
        false_positive_rate=max(FALSE_POSITIVES, 1 / (len(strangers) + 1)),
        clean=len(strangers),
        canaries=[f"{one.canary.shape}, row {one.canary.row}, column {one.canary.column}" for one in planted],
    )
    write_json(run.private / "fingerprints.json", figures.as_json())
    commit_outputs(FINGERPRINT, run, settings)
    return figures


def fingerprints_table(figures: Fingerprints) -> Table:
    """The dose-response curve, a number of repetitions a row."""
    table = Table(title="share of samples that show the canary (95 % intervals)", padding=0)
    for heading in ("images with a canary", "of members"):
        table.add_column(heading, justify="right")
    for heading in ("teacher", "its control", "student", "its control"):
        table.add_column(heading, justify="right", min_width=len("(0.00-0.00)"))
    control = figures.control or Shown()
    columns = (figures.teacher, control.teacher, figures.student, control.student)
    for repeated, *cells in zip(figures.repetitions, *columns, strict=True):
        shares = [f"{cell.value:.3f}\n({cell.low:.2f}-{cell.high:.2f})" for cell in cells]
        table.add_row(str(repeated), f"{repeated / (figures.members or 1):.3f}", *shares)
    chance = figures.false_positive_rate or 0.0
    table.caption = (
        f"control: another canary at the same place, planted nowhere; in a real image one is found at a rate of {chance:.3f}"
    )
    return table


def _planted(real: PrivateDataset, repetitions: Sequence[int], seed: int) -> list[Planted]:
    """The canaries; rows are of `real.members()`."""
    return choose(repetitions, sum(split == "member" for split in real.splits), derive(seed, "fingerprints"))


def _write_planted(folder: Path, real: PrivateDataset, planted: Sequence[Planted], out: Path) -> None:
    """Write a manifest with all columns of an ingested data set but its ids, and canaries in members' images."""
    members = np.flatnonzero(np.array(real.splits) == "member")
    canaries = defaultdict[int, list[Planted]](list)
    for one in planted:
        for at in members[one.rows].tolist():
            canaries[at].append(replace(one, rows=np.zeros(1, np.int64)))
    row, writer = 0, None
    for file in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(_ROWS):
                structs = []
                for image in batch["image"].to_pylist():
                    if row in canaries:
                        image["bytes"] = encode_png(plant(to_arrays([image]), canaries[row])[0])
                    structs.append({"bytes": image["bytes"], "path": f"{row:09d}.png"})
                    row += 1
                table = pa.Table.from_batches([batch])
                at = table.schema.get_field_index("image")
                table = table.set_column(at, table.schema.field(at), pa.array(structs, IMAGE)).drop_columns(["id"])
                writer = writer or pq.ParquetWriter(out, table.schema)
                writer.write_table(table)
    assert writer  # an ingested data set has rows
    writer.close()
