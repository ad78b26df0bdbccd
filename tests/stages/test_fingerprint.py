import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pd.audit.fingerprints import likeness
from pd.audit.results import Fingerprints
from pd.config import Settings, parse_settings
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset
from pd.diffusion.components import build
from pd.diffusion.export import export
from pd.errors import UserError
from pd.progress import Reporter
from pd.seeds import derive
from pd.stages.fingerprint import _planted, fingerprints_table, measure, prepare
from pd.store.files import digest_folder
from pd.store.run import Run

REPETITIONS = (1, 4, 64)


def settings(folder: Path) -> Settings:
    return parse_settings({"name": "mine", "runs": str(folder / "runs"), "teacher": {"crop": 0.8}})


def test_marked_images_are_those_of_the_run_and_only_members_carry_marks(tmp_path: Path) -> None:
    ours = settings(tmp_path)
    derived = prepare(ours, REPETITIONS, Reporter())
    assert derived.run_dir == tmp_path / "runs" / "mine-fingerprints"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["mine-fingerprints"]
    assert derived.teacher.crop is None
    plain, planted = tmp_path / "plain", tmp_path / "planted"
    ingest(ours.data, derive(ours.seed, "split"), plain)
    ingest(derived.data, derive(derived.seed, "split"), planted)
    before, after = PrivateDataset.read(plain), PrivateDataset.read(planted)
    assert (after.identities, after.splits, after.captions) == (before.identities, before.splits, before.captions)
    assert set(after.labels) == set(before.labels)
    changed = (after.images != before.images).any(axis=(1, 2, 3))
    assert changed.sum() == sum(REPETITIONS)
    assert not changed[np.array(before.splits) == "holdout"].any()
    for one in _planted(after, REPETITIONS, derived.seed):
        assert likeness(after.members().images[one.rows], one.canary) == pytest.approx(1)


def test_marked_images_are_written_once_and_again_for_other_doses(tmp_path: Path) -> None:
    ours = settings(tmp_path)
    path = prepare(ours, REPETITIONS, Reporter()).data.path
    assert path is not None
    first, time = digest_folder(path.parent), path.stat().st_mtime_ns
    prepare(ours, REPETITIONS, Reporter())
    assert path.stat().st_mtime_ns == time
    prepare(ours, (2, 3), Reporter())
    assert digest_folder(path.parent) != first


def test_a_dose_of_more_than_all_members_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="201 repetitions"):
        prepare(settings(tmp_path), (1, 201), Reporter())
    assert not (tmp_path / "runs").exists()


def test_the_table_has_a_row_for_each_dose() -> None:
    share = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}
    each = [share] * len(REPETITIONS)
    figures = {"repetitions": list(REPETITIONS), "members": 200, "teacher": each, "student": each, "false_positive_rate": 0.01}
    table = fingerprints_table(Fingerprints.model_validate(figures | {"control": {"teacher": each, "student": each}}))
    assert table.row_count == len(REPETITIONS)
    assert list(table.columns[0].cells) == ["1", "4", "64"]
    screen = Console(width=80)
    with screen.capture() as shown:
        screen.print(table)
    assert "…" not in shown.get()  # whole on a narrow screen


def test_a_teacher_that_copies_is_caught_and_a_fresh_student_is_not(tmp_path: Path) -> None:
    quick = {"audit": {"samples": 400}, "generate": {"sampler_steps": 1}, "student": {"unet": "tiny"}}
    derived = prepare(parse_settings({"name": "mine", "runs": str(tmp_path), **quick}), REPETITIONS, Reporter())
    run = Run(derived.run_dir)
    ingest(derived.data, derive(derived.seed, "split"), run.dataset)
    copies = PrivateDataset.read(run.dataset).members()
    SyntheticDataset(copies.ids, copies.images, copies.captions, {}).write(run.generated)
    export(build(derived.student, derived.data, seed=1), run.student)
    figures = measure(derived, REPETITIONS, Reporter()).as_json()
    assert json.loads((run.private / "fingerprints.json").read_text()) == figures
    assert run.card.read_text().startswith("# Not for release")
    for at, repeated in enumerate(REPETITIONS):
        assert figures["teacher"][at]["value"] >= repeated / len(copies)
        assert figures["student"][at]["low"] <= figures["control"]["student"][at]["high"]
    assert figures["teacher"][2]["low"] > figures["control"]["teacher"][2]["high"]
