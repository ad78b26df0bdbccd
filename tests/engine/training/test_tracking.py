"""MLflow, read back with its own client; a server that is not there; and what is never told."""

import time
from pathlib import Path

import pytest
from small_training import CAPTIONS, DATA, SEED, job_folder, records, settings, train, train_until

from pd.config import TrackingSettings
from pd.engine.training import tracking as train_tracking
from pd.engine.training.definition import Job
from pd.engine.training.tracking import Tracker, located, shared_settings
from pd.errors import UserError

NOBODY = TrackingSettings(mlflow="http://127.0.0.1:9")  # the discard port: nobody listens


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrackingSettings:
    """A tracking folder, named relative to where the driver stands."""
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    return TrackingSettings(mlflow="tracked", experiment="faces")


def runs(tmp_path: Path) -> list[object]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "tracked").as_uri())
    experiment = client.get_experiment_by_name("faces")
    return list(client.search_runs([experiment.experiment_id]))


def test_figures_and_settings_arrive_and_nothing_else(tmp_path: Path, folder: TrackingSettings) -> None:
    from mlflow import MlflowClient

    train(tmp_path, settings(samples_every=3), tracking=folder)
    (run,) = runs(tmp_path)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "work"  # the stage's name, in a run
    assert run.data.params["learning_rate"] == "0.001"
    assert run.data.params["seed"] == str(SEED)
    reported = [record for record in records(tmp_path) if "loss" in record]
    names = {"loss", "loss_step", "learning_rate", "gradient_norm", "images_per_s", "mfu", "memory_gb"}
    assert {name for name in run.data.metrics if name.startswith("training/")} == {f"training/{name}" for name in names}
    client = MlflowClient(tracking_uri=(tmp_path / "tracked").as_uri())
    history = client.get_metric_history(run.info.run_id, "training/loss")
    assert [(point.step, point.value) for point in history] == [(record["step"], record["loss"]) for record in reported]
    assert client.list_artifacts(run.info.run_id) == []
    told = [path for path in (tmp_path / "tracked").rglob("*") if path.is_file() and path.name != "meta.yaml"]
    text = " ".join(path.read_text() for path in told)
    assert not any(caption in text for caption in CAPTIONS)
    assert str(tmp_path) not in text
    assert str(Path.home()) not in text


def test_an_interrupted_training_goes_on_with_its_run(tmp_path: Path, folder: TrackingSettings) -> None:
    train_until(tmp_path, settings(), 3, folder)
    (first,) = runs(tmp_path)
    assert first.info.status == "FAILED"
    train(tmp_path, settings(), tracking=folder)
    (again,) = runs(tmp_path)
    assert again.info.run_id == first.info.run_id
    assert again.info.status == "FINISHED"
    assert not (job_folder(tmp_path) / "mlflow.json").exists()


def test_a_server_that_is_down_costs_a_word_and_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setattr("pd.engine.training.progress_file.EVERY_S", 0.0)
    asked: list[Tracker] = []
    tried = Tracker._tried

    def note(self: Tracker, end: bool = False) -> bool:
        well = tried(self, end)
        asked.append(self)
        return well

    def wait(step: int, steps: int, figures: dict[str, object]) -> None:
        told.append(figures.get("mlflow"))
        deadline = time.monotonic() + 60  # for the import of MLflow
        while step == 2 and not asked and time.monotonic() < deadline:
            time.sleep(0.05)

    told: list[object] = []
    monkeypatch.setattr(Tracker, "_tried", note)
    assert train(tmp_path, settings(), wait, NOBODY)["steps"] == 6
    assert told[-1] == "does not answer (MlflowException)"


def test_what_could_not_be_sent_is_sent_when_the_server_is_back(
    tmp_path: Path, folder: TrackingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    monkeypatch.setattr(train_tracking, "RETRY_S", 0.05)
    original, down = MlflowClient.log_batch, [3]

    def log_batch(self: MlflowClient, run: str, **given: object) -> None:
        if "metrics" in given and down[0]:
            down[0] -= 1
            raise ConnectionError
        original(self, run, **given)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    tracking = located(folder)
    assert tracking is not None
    job = Job(settings(), DATA, SEED, tmp_path / "teacher" / "abc")
    tracker = Tracker(job, tracking)
    for step in range(5):
        tracker.log(step, {"loss": float(step)})
        time.sleep(0.2)
    tracker.close(True)
    (run,) = runs(tmp_path)
    assert down == [0]
    client = MlflowClient(tracking_uri=tracking.mlflow)
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == [0, 1, 2, 3, 4]
    assert run.info.run_name == "teacher"
    assert tracker.lost is None


def test_settings_are_told_without_paths(tmp_path: Path) -> None:
    def shown(base: str | None) -> object:
        return shared_settings(Job(settings(base=base), DATA, SEED, tmp_path))["base"]

    (tmp_path / "mine").mkdir()
    assert shown(str(tmp_path / "mine")) == "a folder"
    assert shown("/gone/patients/base") == "a folder"
    assert shown("stabilityai/stable-diffusion-2-1-base") == "stabilityai/stable-diffusion-2-1-base"
    assert shown(None) is None
    assert shared_settings(Job(settings(), DATA, SEED, tmp_path))["data.size"] == 32


def test_nothing_is_tracked_unless_it_is_asked_for() -> None:
    assert located(None) is None
    assert located(TrackingSettings()) is None


def test_addresses_stay_and_folders_become_absolute(tmp_path: Path, folder: TrackingSettings) -> None:
    found = located(folder)
    assert found is not None
    assert found.mlflow == (tmp_path / "tracked").as_uri()
    assert located(NOBODY) == NOBODY


@pytest.mark.parametrize(
    ("missing", "address", "says"),
    [("mlflow", "tracked", "MLflow is not installed"), ("sqlalchemy", "sqlite:///tracked.db", "needs sqlalchemy")],
)
def test_a_missing_package_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str, address: str, says: str
) -> None:
    monkeypatch.setattr(train_tracking.importlib.util, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(UserError, match=f"{says}.*pip install mlflow") as error:
        train(tmp_path, settings(), tracking=TrackingSettings(mlflow=address))
    assert error.value.where == "tracking.mlflow"
    assert not (tmp_path / "work").exists()
