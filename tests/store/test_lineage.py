from pathlib import Path

from pd.store.files import digest_folder, size_of
from pd.store.lineage import Record, read_record, why_stale


def record(**changes: object) -> Record:
    whole = {
        "stage": "a",
        "settings": {"teacher.steps": 1},
        "inputs": {"ingest": "x"},
        "outputs": {},
        "sizes": {"out": 3},
        "seconds": 1.0,
    }
    return Record(**{**whole, **changes})


def test_it_says_which_key_which_input_or_which_output_changed(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("abc")
    made = record()
    assert why_stale(made, made.settings, made.inputs, tmp_path) is None
    assert why_stale(None, {}, {}, tmp_path) == "not done yet"
    assert why_stale(made, {"teacher.steps": 2}, made.inputs, tmp_path) == "teacher.steps changed from 1 to 2"
    assert why_stale(made, made.settings, {"ingest": "y"}, tmp_path) == "what `ingest` hands over changed"
    (tmp_path / "out").write_text("abcd")
    assert why_stale(made, made.settings, made.inputs, tmp_path) == "out was altered"
    (tmp_path / "out").unlink()
    assert why_stale(made, made.settings, made.inputs, tmp_path) == "out is gone"


def test_a_record_survives_writing_and_a_damaged_one_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    record().write(path)
    assert read_record(path) == record()
    path.write_text("{")
    assert read_record(path) is None
    path.write_text('{"stage": "a"}')
    assert read_record(path) is None


def test_digests_follow_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = digest_folder(tmp_path)
    (tmp_path / ".hidden").write_text("2")
    assert digest_folder(tmp_path) == first
    (tmp_path / "a").rename(tmp_path / "b")
    assert digest_folder(tmp_path) != first
    assert size_of(tmp_path) == 1
    assert size_of(tmp_path / "none") == 0
