import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pd.engine.stream.pool import built
from pd.engine.stream.shards import Shard, bad_images, missing, plan, tidy, write_shard
from pd.store.kept import keep_folder
from pd.store.mirror import place_of

TABLE = pa.table({"id": ["a", "b"]})


def test_plan_is_aligned_to_micro_batches():
    shards = plan(250, 100, 32)
    assert [(s.start, s.stop) for s in shards] == [(0, 128), (128, 250)]
    batches = [batch for shard in shards for batch in shard.micro_batches(32)]
    assert [batch.start for batch in batches] == list(range(0, 250, 32))
    assert [sample for batch in batches for sample in batch] == list(range(250))


def test_more_candidates_leave_whole_shards_as_they_are():
    assert plan(1000, 100, 10)[:9] == plan(950, 100, 10)[:9]


@pytest.fixture
def out(tmp_path):
    shards = plan(6, 2, 2)
    tidy(tmp_path, shards, shards)
    for shard in shards:
        write_shard(tmp_path, shard, TABLE, "inputs", {"sample": 1.0}, [f"{shard.index}.png: corrupt"])
    return tmp_path


def test_finished_shards_are_not_missing(out):
    shards = plan(6, 2, 2)
    assert missing(out, shards, "inputs") == []
    assert pq.read_table(out / "part-00001.parquet").equals(TABLE)
    assert bad_images(out, shards) == ["0.png: corrupt", "1.png: corrupt", "2.png: corrupt"]


def test_shards_of_other_inputs_are_missing(out):
    assert missing(out, plan(6, 2, 2), "other") == plan(6, 2, 2)


def test_a_shard_with_another_range_is_missing(out):
    assert missing(out, plan(7, 2, 2), "inputs") == [Shard(3, 6, 7)]
    assert missing(out, plan(5, 2, 2), "inputs") == [Shard(2, 4, 5)]


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "no mark", "bad mark"])
def test_damage_is_noticed(out, damage):
    file, mark = out / "part-00001.parquet", out / ".done" / "part-00001.json"
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[10] ^= 1
        file.write_bytes(data)
    elif damage == "cut":
        file.write_bytes(data[:-1])
    elif damage == "gone":
        file.unlink()
    elif damage == "no mark":
        mark.unlink()
    else:
        mark.write_text('{"index": 1')
    assert missing(out, plan(6, 2, 2), "inputs") == [Shard(1, 2, 4)]


def test_tidy_leaves_nothing_but_finished_shards(out):
    (out / ".part-00009.parquet.abcd.partial").write_bytes(b"half")
    shards = plan(4, 2, 2)
    tidy(out, shards, [shards[1]])
    assert sorted(path.name for path in out.rglob("*")) == [".done", "part-00000.json", "part-00000.parquet"]


def test_the_mark_tells_size_and_seconds(tmp_path):
    (tmp_path / ".done").mkdir()
    mark = write_shard(tmp_path, Shard(0, 0, 2), TABLE, "x", {"sample": 1.0})
    assert mark.size == (tmp_path / "part-00000.parquet").stat().st_size
    assert mark.seconds["sample"] == 1
    assert mark.seconds["write"] > 0


def test_equal_rows_make_equal_files(tmp_path):
    (tmp_path / ".done").mkdir()
    shard = Shard(0, 0, 2)
    assert write_shard(tmp_path, shard, TABLE, "x", {}).sha256 == write_shard(tmp_path, shard, TABLE, "x", {}).sha256


def test_shards_of_two_machines_meet_in_a_bucket(machine):
    shards = plan(6, 2, 2)
    for name, made in (("a", shards[:1]), ("b", shards[1:2])):
        for shard in made:
            write_shard(machine(name) / "generated", shard, TABLE, "inputs", {}, [f"{name}.png: corrupt"])
    out = machine("driver") / "generated"
    assert missing(out, shards, "inputs") == shards[2:]
    assert bad_images(out, shards[:2]) == ["a.png: corrupt", "b.png: corrupt"]
    (out / "part-00000.parquet").write_bytes(b"rotten")
    assert missing(out, shards, "inputs") == shards[2:]  # fetched again
    tidy(out, shards[:2], shards[:1])
    assert missing(machine("another driver") / "generated", shards, "inputs") == [shards[0], shards[2]]


def test_a_shard_that_rotted_in_a_bucket_is_missing(machine):
    shards = plan(4, 2, 2)
    out = machine("a") / "generated"
    for shard in shards:
        write_shard(out, shard, TABLE, "inputs", {})
    place, name = place_of(out)
    place.write(f"{name}/part-00001.parquet", b"rotten")
    place.delete(f"{name}/.done/part-00000.json")
    assert missing(machine("b") / "generated", shards, "inputs") == shards


def test_who_hands_out_shards_needs_no_torch() -> None:
    """Its import costs each process 300 MB and seconds, and drivers and waiting actors have no use for it."""
    look = "import sys, pd.engine.stream.pool; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0


def test_what_a_worker_reads_is_on_its_machine_before_its_actor_is_built(machine):
    with keep_folder(machine("driver") / "private" / "teacher") as aside:
        (aside / "weights").write_bytes(b"w")
    teacher = machine("worker") / "private" / "teacher"
    assert not teacher.exists()
    assert built(lambda folder: (folder / "weights").read_bytes(), {"folder": teacher}, [teacher]) == b"w"
