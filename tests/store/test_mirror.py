"""Runs in a bucket, on a real S3 server: what one machine commits is what another one finds."""

import pickle
import stat

import pytest
from bucket import BUCKET
from refusals import refused_as

from pd.config.mirrored import as_written, in_words, mirrored_run, packed, unpacked
from pd.store.files import digest_folder, size_of
from pd.store.mirror import bytes_of, committed, committed_digest, place_of, pull, pull_all, push, refresh, remove

FILES = {"a": b"", "a.b/c": b"c" * 9, "ab/d": b"d", ".done/part": b"{}"}


def write(folder, files):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def held(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def objects(path):
    place, name = place_of(path)
    return {file.name for file in place.objects(name)}


def test_a_folder_arrives_as_it_was_sent(machine):
    folder = machine("a") / "private" / "teacher"
    write(folder, FILES)
    push(folder)
    there = machine("b") / "private" / "teacher"
    pull(there)
    assert held(there) == FILES
    assert all(stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600) for path in there.rglob("*"))
    assert committed_digest(there) == digest_folder(there)
    assert bytes_of(there) == size_of(there) == 10


def test_what_is_there_is_known_without_fetching_it(machine):
    folder = machine("a") / "private" / "teacher"
    write(folder, FILES)
    push(folder)
    root = machine("b")
    refresh(root)
    assert bytes_of(root / "private" / "teacher") == 10
    assert bytes_of(root / "private" / "dataset") is None
    assert not (root / "private" / "teacher").exists()


def test_a_file_is_known_by_the_commit_of_a_folder_that_it_is_in(machine):
    folder = machine("a") / "work" / "job" / "cache"
    write(folder, {"latents/part": b"123", "latents.json": b"", "done.json": b"{}"})
    push(folder)
    root = machine("b")
    refresh(root / "work" / "job")
    there = root / "work" / "job" / "cache"
    assert bytes_of(there / "latents" / "part") == 3
    assert set(committed(there / "latents")) == {"work/job/cache/latents/part"}
    assert committed(there / "none") == {}


def test_files_add_to_their_folder_until_it_is_committed_anew(machine):
    folder = machine("a") / "generated"
    write(folder, {"one": b"1", "two": b"2"})
    push(folder / "one", folder / "two")
    there = machine("b") / "generated"
    pull(there)
    assert held(there) == {"one": b"1", "two": b"2"}
    write(there, {"three": b"3"})
    push(there / "three")
    (there / "one").unlink()
    push(there)
    assert objects(there) == {f"generated/{name}" for name in ("two", "three")}
    pull(machine("a") / "generated")
    assert held(folder) == {"two": b"2", "three": b"3"}


def test_a_commit_goes_before_a_file_that_it_names_is_written_over(machine, monkeypatch):
    folder = machine("a") / "private" / "teacher"
    write(folder, FILES)
    push(folder)
    write(folder, {"ab/d": b"other"})

    def fail(spot, name):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pd.store.mirror._upload", fail)
        with pytest.raises(KeyboardInterrupt):
            push(folder)
    root = machine("b")
    refresh(root)
    assert not committed(root)
    push(machine("a") / "private" / "teacher")
    pull(machine("b") / "private" / "teacher")
    assert (root / "private" / "teacher" / "ab" / "d").read_bytes() == b"other"


def test_what_is_not_as_committed_is_refused_or_left_out(machine, s3):
    folder = machine("a") / "generated"
    write(folder, {"one": b"1", "two": b"2"})
    push(folder)
    place, _ = place_of(folder)
    s3.put(f"{place.path.removeprefix(f'{BUCKET}/')}/generated/two", b"X")
    there = machine("b") / "generated"
    with refused_as("damaged", "s3://", "/generated/two"):
        pull(there)
    pull(there, broken=True)
    assert held(there) == {"one": b"1"}
    place.delete("generated/one")
    with refused_as("damaged"):
        pull(machine("c") / "generated")


def test_a_file_that_was_altered_here_is_fetched_again(machine):
    folder = machine("a") / "generated"
    write(folder, {"one": b"1", "two": b"2"})
    push(folder)
    there = machine("b") / "generated"
    write(there, {"one": b"X", "stranger": b"?"})
    pull(there)
    assert held(there) == {"one": b"1", "two": b"2"}
    (there / "one").write_bytes(b"Y")
    refresh(there.parent)
    pull(there)
    assert held(there) == {"one": b"1", "two": b"2"}


def test_all_of_a_release_is_what_lies_there(machine, s3):
    folder = machine("a") / "release"
    write(folder / "data", {"part": b"1"})
    push(folder / "data")
    place, _ = place_of(folder)
    s3.put(f"{place.path.removeprefix(f'{BUCKET}/')}/release/.forgotten", b"a note")
    there = machine("b") / "release"
    write(there, {"mine": b"only here"})
    pull_all(there)
    assert held(there) == {"data/part": b"1", ".forgotten": b"a note"}


def test_what_is_removed_is_gone_but_for_what_is_spared(machine):
    root = machine("a")
    write(root / "work", {"job/model/w": b"w", "job/cache/c": b"c", "job/done.json": b"{}", "job2/x": b"x"})
    push(root / "work" / "job" / "model", root / "work" / "job" / "cache", root / "work" / "job" / "done.json")
    push(root / "work" / "job2")
    remove(root / "work" / "job", but=[root / "work" / "job" / "model"])
    assert objects(root / "work") == {"work/job/model/w", "work/job2/x"}
    root = machine("b")
    refresh(root)
    assert set(committed(root)) == {"work/job/model/w", "work/job2/x"}


def test_a_commit_names_nothing_outside(machine, s3):
    folder = machine("a") / "generated"
    place, _ = place_of(folder)
    for name in ("generated/../../../x", "private/dataset/x", "generated//x", "generated/\\u0000"):
        s3.put(f"{place.path.removeprefix(f'{BUCKET}/')}/.commits/generated.json", b'{"%s": [1, "00"]}' % name.encode())
        with refused_as("damaged"):
            pull(folder)


def test_an_object_whose_name_climbs_out_is_not_fetched(machine, s3, tmp_path):
    """S3 takes `../x` for a name like any other."""
    if s3.kind != "moto":
        pytest.skip("MinIO takes no such name")
    root = machine("a")
    place, _ = place_of(root)
    write(root / "release", {"model": b"m"})
    push(root / "release")
    prefix = place.path.removeprefix(f"{BUCKET}/")
    for fetch, name in (
        (lambda: pull_all(root / "release"), "release/../../../../x"),
        (lambda: refresh(root), ".commits/../../x.json"),
    ):
        s3.put_as_named(f"{prefix}/{name}", b"{}")
        with refused_as("bad-name"):
            fetch()
        s3.delete_as_named(f"{prefix}/{name}")
    assert not [path for path in tmp_path.rglob("x*") if path.is_file()]


def test_there_must_be_a_bucket(machine):
    machine("a")
    with refused_as("storage-failed", "s3://nowhere/runs/faces"):
        refresh(mirrored_run("s3:/nowhere/runs/faces"))


def test_a_path_that_travels_is_the_other_machines_own(machine):
    here = machine("a") / "private" / "teacher"
    parcel, text = pickle.dumps([here / "unet", here.absolute().parent]), packed(here)
    there = machine("b") / "private" / "teacher"
    assert pickle.loads(parcel) == [there / "unet", there.parent]
    assert unpacked(text) == there != here
    assert unpacked(packed(there.parents[7] / "x")) == there.parents[7] / "x"


def test_people_see_the_url(machine, tmp_path):
    here = machine("a") / "private" / "teacher"
    url = f"s3://{BUCKET}/{tmp_path.name}/some runs/faces/private/teacher"
    assert as_written(here) == url
    assert in_words(f"{here}: cannot be read") == f"{url}: cannot be read"
    assert in_words(f"{tmp_path}/elsewhere") == f"{tmp_path}/elsewhere"
    assert mirrored_run(url.replace("//", "/"), below=2) == here


def test_on_a_disk_nothing_happens(tmp_path):
    write(tmp_path, {"f": b"1"})
    push(tmp_path)
    pull(tmp_path)
    pull_all(tmp_path)
    remove(tmp_path)
    refresh(tmp_path)
    assert held(tmp_path) == {"f": b"1"}
    assert committed(tmp_path) is None
    assert bytes_of(tmp_path / "f") == 1
    assert bytes_of(tmp_path / "none") is None
