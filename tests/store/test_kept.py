"""What is kept outlives a machine, and who keeps it need not know how."""

import ast
from pathlib import Path

import pytest

import pd
from pd.errors import UserError
from pd.store import kept
from pd.store.kept import at_hand, discard, keep, keep_folder, keep_json, there
from pd.store.mirror import committed, refresh

HOME = Path(pd.__file__).parent


def names(root):
    """What another machine would find."""
    refresh(root)
    return set(committed(root) or ())


def test_a_folder_is_kept_once_it_is_whole(machine):
    out = machine("a") / "work" / "job" / "result"
    with pytest.raises(FileNotFoundError), keep_folder(out) as aside:
        (aside / "none" / "half").write_bytes(b"1")
    assert not there(out)
    with keep_folder(out) as aside:
        (aside / "whole").write_bytes(b"2")
    keep_json(out.parent / "done.json", {})
    elsewhere = machine("b") / "work" / "job"
    assert there(elsewhere / "result")
    assert (elsewhere / "result" / "whole").read_bytes() == b"2"
    assert at_hand(elsewhere / "done.json").read_bytes() == b"{}\n"


def test_what_was_whole_when_its_machine_was_killed_is_kept_when_it_is_next_looked_for(machine, monkeypatch):
    out = machine("a") / "work" / "job" / "result"

    def killed(*paths):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kept, "push", killed)
        with pytest.raises(KeyboardInterrupt), keep_folder(out) as aside:
            (aside / "whole").write_bytes(b"2")
    assert not there(machine("b") / "work" / "job" / "result")
    assert there(machine("a") / "work" / "job" / "result")
    assert there(machine("b") / "work" / "job" / "result")


def test_what_is_discarded_is_gone_here_and_there(machine):
    job = machine("a") / "work" / "job"
    for name in ("cache/x", "model/w", "done.json"):
        keep_json(job / name, {})
    discard(job, but=[job / "model", job / "done.json"])
    assert names(job.parents[1]) == {"work/job/model/w", "work/job/done.json"}
    assert sorted(path.name for path in job.iterdir()) == ["done.json", "model"]
    discard(job, job / "none")
    assert not job.exists()
    assert names(machine("b")) == set()


def test_on_a_disk_it_is_writing_and_removing(tmp_path):
    keep_json(tmp_path / "job" / "done.json", {})
    keep(tmp_path / "job")
    assert there(at_hand(tmp_path / "job"))
    discard(tmp_path / "job", tmp_path / "none")
    assert not there(tmp_path / "job")


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a file is in the way"):
        keep_json(tmp_path / "file" / "x", {})


def test_files_cross_to_a_bucket_in_few_places():
    """By name: whoever else calls one of these knows where a run lies."""
    calls = {file.relative_to(HOME).as_posix(): called(file) for file in HOME.rglob("*.py")}
    assert {name for name, found in calls.items() if found & {"pull", "push"}} == {
        "store/mirror.py",
        "store/kept.py",
        "stages/bucket.py",
    }
    assert {name for name, found in calls.items() if "is_mirrored" in found} == {
        "config/mirrored.py",
        "store/mirror.py",
        "dataset/readers/bucket.py",
    }


def called(file):
    """The bare names that a file calls."""
    nodes = (node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
    return {node.id for node in nodes if isinstance(node, ast.Name)}
