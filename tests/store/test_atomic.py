import os
import shutil
import stat
from pathlib import Path

import pytest
from safetensors import SafetensorError

from pd.errors import UserError
from pd.store.atomic import disk_errors, keep_private, sweep, write_bytes, write_folder, write_json


def test_a_folder_appears_whole_and_private(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with write_folder(target) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("new")
        assert not target.exists()
    assert (target / "sub" / "a").read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert stat.S_IMODE((target / "sub" / "a").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["out"]


def test_folders_above_are_private_too_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_bytes(tmp_path / "a" / "b" / "file", b"x")
        with write_folder(tmp_path / "c" / "d") as folder:
            (folder / "file").write_text("x")
    finally:
        os.umask(before)
    for path in (path for name in "ac" for path in [tmp_path / name, *(tmp_path / name).rglob("*")]):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with write_folder(target) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), write_folder(target) as folder:
        (folder / "a").write_text(str(1 / (folder / "a").write_text("")))
    assert (target / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    target = tmp_path / "out"
    (tmp_path / ".out.0123abcd.partial").mkdir()
    (tmp_path / ".out.old").mkdir()
    (tmp_path / ".out.old" / "a").write_text("old")
    sweep(target)  # it died between taking the old folder away and putting the new one there
    assert (target / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"b": float("nan")})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1\n}\n'
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o600


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    says = r"x: cannot write: No space left on device\. make room"
    with pytest.raises(UserError, match=says), disk_errors(Path("x")):
        Path("/dev/full").write_bytes(b"a" * 100_000)
    for without_number in (  # as they were seen
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        shutil.Error([("a", "b", "[Errno 28] No space left on device")]),
    ):
        with pytest.raises(UserError, match=says), disk_errors(Path("x")):
            raise without_number


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), disk_errors(tmp_path):
        (tmp_path / "none").read_bytes()


def test_a_file_in_the_way_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file is in the way"):
        write_bytes(tmp_path / "file" / "a", b"x")


def test_what_a_process_writes_is_its_owners_alone_once_it_was_told_so(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        keep_private()
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "folder" / "file").stat().st_mode & 0o777 == 0o600
