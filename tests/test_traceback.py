"""An unforeseen error leaves its traceback where only the custodian finds it."""

import stat

import pytest

from pd.cli import entry
from pd.config import parse_settings
from pd.errors import UserError
from pd.pipeline import TRACEBACK, run_pipeline
from pd.progress import Reporter


@pytest.fixture
def broken(monkeypatch):
    """What happens in the stage `ingest` of a run."""

    def fail(error):
        def execute(context):
            raise error

        monkeypatch.setattr("pd.stages.ingest.execute", execute)

    return fail


def run(tmp_path):
    run_pipeline(parse_settings({"runs": str(tmp_path), "name": "one"}), Reporter())


def test_the_traceback_is_kept_and_private(broken, tmp_path, monkeypatch, capsys):
    broken(ValueError("a caption of Anna"))
    monkeypatch.setattr(entry, "app", lambda *_, **__: run(tmp_path))
    assert entry._run(["run"], debug=False) == 1
    file = tmp_path / "one" / "work" / TRACEBACK
    told = capsys.readouterr().err
    assert "ValueError in test_traceback.py" in told
    assert str(file) in told.replace("\n", "")
    assert "Anna" not in told
    assert "a caption of Anna" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_bad_input_leaves_none(broken, tmp_path):
    broken(UserError("no such thing"))
    with pytest.raises(UserError):
        run(tmp_path)
    assert not list(tmp_path.rglob(TRACEBACK))


def test_a_folder_that_is_gone_from_under_a_process_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job whose working directory was removed: the system's error then names no file."""

    def gone(*_: object, **__: object) -> str:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(entry, "app", gone)
    assert entry._run(["status"], debug=False) == 2
    assert capsys.readouterr().err == "pd: a file: No such file or directory\n"
    monkeypatch.setattr("os.getcwd", gone)
    assert entry._run(["status"], debug=False) == 2
    assert "the folder that this was started in: No such file or directory" in capsys.readouterr().err
