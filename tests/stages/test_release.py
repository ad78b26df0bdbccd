"""What leaks is not released, and the run says so."""

import json
from pathlib import Path

import pytest

from pd.audit.results import AuditResult
from pd.config import Settings
from pd.progress import Reporter
from pd.release.files import contents, learned_from_data
from pd.stages.release import decided, execute, leaking
from pd.store.context import Context
from pd.store.run import Run

CLEAN = {"value": 0.01, "low": -0.02, "high": 0.04, "n": 100}
LEAK = {"value": 0.3, "low": 0.2, "high": 0.4, "n": 100}


@pytest.fixture
def release(tmp_path: Path):
    """release(student's excess, data's excess, settings) -> the run, its release made."""

    def make(student_excess, data_excess, **settings) -> Run:
        run = Run(tmp_path / "run")
        for folder in (run.student, run.kept, run.student_data):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "what.txt").write_text(folder.name)
        arms = {"filtered": {"reid": {"excess": student_excess}}, "kept": {"reid": {"excess": data_excess}}}
        run.audit.write_text(json.dumps({"arms": arms}))
        whole = Settings.model_validate({"name": "run", "runs": str(tmp_path), "release": settings})
        execute(Context(whole, run, Reporter()))
        return run

    return make


def _released(run: Run) -> list[str]:
    return [path.name for path in (run.model, run.data) if path.exists()]


def test_what_does_not_leak_is_released_and_nothing_is_said(release):
    run = release(CLEAN, CLEAN)
    assert _released(run) == ["model", "data"]
    assert (run.data / "what.txt").read_text() == "kept"
    assert not run.contents.exists()
    assert decided(run) == []


@pytest.mark.parametrize(("student", "data", "left"), [(CLEAN, LEAK, ["model"]), (LEAK, CLEAN, ["data"]), (LEAK, LEAK, [])])
def test_a_leak_stays_in_private(release, student, data, left):
    run = release(student, data)
    assert _released(run) == left
    assert (run.student / "what.txt").exists()
    assert (run.kept / "what.txt").exists()
    told = json.loads(run.contents.read_text())["released"]
    assert told == [{"model": "student", "data": "data"}[name] for name in left] == contents(run.release)
    assert not learned_from_data(run.release) or left == ["data"]
    assert len(decided(run)) == 2 - len(left)
    assert all("(Re-identification) and stays in private/" in line for line in decided(run))


def test_a_later_release_takes_back_what_leaks_now(release):
    assert _released(release(CLEAN, CLEAN)) == ["model", "data"]
    assert _released(release(CLEAN, LEAK)) == ["model"]
    assert _released(release(CLEAN, CLEAN)) == ["model", "data"]


def test_a_leak_that_is_accepted_is_released_and_named(release):
    run = release(CLEAN, LEAK, accept_leak=True)
    assert _released(run) == ["model", "data"]
    assert decided(run) == ["the data leaks (Re-identification) and is released: accepted"]


def test_other_data_or_none(release):
    run = release(CLEAN, CLEAN, data="student")
    assert (run.data / "what.txt").read_text() == "student_data"
    assert json.loads(run.contents.read_text()) == {"released": ["student", "data"], "data": "student"}
    assert not learned_from_data(run.release)
    run = release(CLEAN, LEAK, data="none")  # what is not to be released is withheld from nobody
    assert _released(run) == ["model"]
    assert decided(run) == []


def test_what_is_not_known_is_no_leak():
    assert leaking(AuditResult()) == {}
    assert leaking(AuditResult.model_validate({"arms": {"filtered": {"reid": {}}}})) == {}
