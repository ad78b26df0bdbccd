"""What a finished run no longer needs goes, after it was said; what proves the release stays."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pd.config import parse_settings
from pd.errors import UserError
from pd.pipeline import purge_run, run_pipeline
from pd.progress import Reporter
from pd.stages.purge import PARTS, Part, purge, purgeable, purged
from pd.stages.withdrawn import runs_with
from pd.store.run import Run

STAYS = ("private/dataset", "private/reid", "private/audit.json", "private/.stages/report.json", "release/README.md")
GOES = (
    "private/teacher",
    "private/generated",
    "private/topped_up",
    "private/candidates",
    "private/samples/kept",
    "private/arms/unfiltered",
    "work",
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    for name in (*STAYS, *GOES):
        path = tmp_path / "one" / name
        path = path if path.suffix in (".json", ".md") else path / "file"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * 100)
    return Run(tmp_path / "one")


def test_what_remembers_people_goes_and_what_proves_the_release_stays(run: Run) -> None:
    parts = purgeable(run)
    assert {part.name for part in parts} == set(PARTS) - {"sweep"}
    assert all(part.bytes == 100 for part in parts)
    purge(run, parts)
    assert purged(run) == sorted(part.name for part in parts)
    assert all((run.root / name).exists() for name in STAYS)
    assert not any((run.root / name).exists() for name in GOES)
    assert purgeable(run) == []


def test_what_is_to_stay_stays(run: Run) -> None:
    purge(run, purgeable(run, ["teacher", "work"]))
    assert (run.teacher / "file").exists()
    assert not run.generated.exists()
    with pytest.raises(UserError, match="no part 'teachers'"):
        purgeable(run, ["teachers"])


def test_a_run_that_is_not_finished_is_not_touched(run: Run) -> None:
    settings = parse_settings({"runs": str(run.root.parent), "name": "one"})

    def agreed(parts: list[Part]) -> bool:
        raise AssertionError("it was asked")

    with pytest.raises(UserError, match="is not done"):
        purge_run(settings, (), agreed)
    assert run.teacher.exists()


def test_a_purged_run_is_not_made_again_by_mistake(run: Run) -> None:
    purge(run, purgeable(run))
    with pytest.raises(UserError, match="was purged of arms, candidates, generated, samples, teacher, topped_up, work"):
        run_pipeline(parse_settings({"runs": str(run.root.parent), "name": "one"}), Reporter())
    assert not run.work.exists()


def test_who_withdraws_is_found_in_every_run_that_learned_from_him(tmp_path: Path) -> None:
    rows = {"a": ["member", "member", "holdout"], "b": ["holdout", "member", "member"], "c": ["member"] * 3}
    who = {"a": ["Jos\u00e9", "Jos\u00e9", "ann"], "b": ["Jos\u00e9", "ann", "ann"], "c": ["bob"] * 3}
    for name, splits in rows.items():
        Run(tmp_path / name).dataset.mkdir(parents=True)
        pq.write_table(pa.table({"identity": who[name], "split": splits}), Run(tmp_path / name).dataset / "part-00000.parquet")
    (tmp_path / "a" / "release").mkdir()
    (tmp_path / "no run").mkdir()
    found = [(one.run.name, one.split, one.images, one.released) for one in runs_with("Jose\u0301", tmp_path)]
    assert found == [("a", "member", 2, True), ("b", "holdout", 1, False)]
    assert runs_with("nobody", tmp_path) == []
    with pytest.raises(UserError, match="no run with a data set"):
        runs_with("ann", tmp_path / "no run")
