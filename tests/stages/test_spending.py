"""What models spent stays spent, also where the data set has changed since."""

import json
from pathlib import Path

import pytest

from pd.dp.events import gaussian
from pd.dp.ledger import Ledger
from pd.errors import UserError
from pd.stages.budget import spent_by
from pd.stages.spending import enter
from pd.store.run import Run

DELTA = 1e-5


def spent(noise: float) -> Ledger:
    return Ledger().spend("sum", gaussian(noise))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of two models, of one data set and of what it became."""
    found = Run(tmp_path / "a")
    enter(found.ledger, "before", "one", spent(3.0), DELTA)
    enter(found.ledger, "after", "two", spent(4.0), DELTA)
    return found


def test_a_changed_data_set_forgets_no_model(run: Run) -> None:
    enter(run.ledger, "after", "two", spent(4.0), DELTA)  # the same model, entered again after a crash
    held = json.loads(run.ledger.read_text(encoding="utf-8"))["models"]
    assert [(model["weights"], model["dataset"]) for model in held] == [("one", "before"), ("two", "after")]
    rows = spent_by([run.root])
    both = spent(3.0).and_(spent(4.0)).epsilon(DELTA).value
    assert rows["epsilon together"] == rows["epsilon of a (2 models)"] == pytest.approx(both)
    assert "2 different data sets" in str(rows["warning"])


def test_files_of_before_name_one_data_set_for_all(run: Run) -> None:
    tree = json.loads(run.ledger.read_text(encoding="utf-8"))
    models = [{name: model[name] for name in ("weights", "ledger")} for model in tree["models"]]
    run.ledger.write_text(json.dumps(tree | {"models": models}), encoding="utf-8")
    rows = spent_by([run.root])
    assert "warning" not in rows
    enter(run.ledger, "later", "three", spent(5.0), DELTA)
    held = json.loads(run.ledger.read_text(encoding="utf-8"))["models"]
    assert [model["dataset"] for model in held] == ["after", "after", "later"]


def test_runs_on_different_data_add_up_with_a_warning(run: Run, tmp_path: Path) -> None:
    other = Run(tmp_path / "b")
    enter(other.ledger, "elsewhere", "three", spent(5.0), DELTA)
    rows = spent_by([run.root, other.root])
    assert rows["epsilon together"] == pytest.approx(spent(3.0).and_(spent(4.0)).and_(spent(5.0)).epsilon(DELTA).value)
    assert "3 different data sets" in str(rows["warning"])
    with pytest.raises(UserError, match="no ledger in this run"):
        spent_by([tmp_path / "c"])
