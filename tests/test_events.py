"""Events: one JSON line each, with run and stage; numbers, and nothing that could be somebody's."""

import json
import math
from pathlib import Path

import pytest

from pd.events import event, recorded, staged
from pd.progress import Reporter


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_events_carry_run_stage_and_shard_and_only_numbers_and_words_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    event("before", rows=1)
    with recorded(path, "faces"), staged("generate"):
        event("shard", shard=7, rows=512, caption="a photo of Ann", loss=math.nan, path=tmp_path, phase="preparing")
    event("after", rows=1)
    found = lines(path)
    assert [line["event"] for line in found] == ["run started", "stage started", "shard", "stage finished", "run finished"]
    assert {line["run"] for line in found} == {"faces"}
    assert [line["stage"] for line in found] == [None, "generate", "generate", "generate", None]
    assert {key: value for key, value in found[2].items() if key != "time"} == {
        "event": "shard",
        "run": "faces",
        "stage": "generate",
        "shard": 7,
        "rows": 512,
        "phase": "preparing",
    }
    assert str(found[0]["time"]).endswith("+00:00")
    assert path.stat().st_mode & 0o077 == 0


def test_a_failure_is_named_by_its_kind_alone_and_later_attempts_are_added(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for _ in range(2):
        with pytest.raises(ValueError, match="Ann"), recorded(path, "faces"), staged("reid"):
            raise ValueError("Ann")
    failed = [line for line in lines(path) if "failed" in str(line["event"])]
    assert [(line["event"], line["error"]) for line in failed] == [
        ("stage failed", "ValueError"),
        ("run failed", "ValueError"),
    ] * 2
    assert "Ann" not in path.read_text()


def test_progress_is_recorded_at_once_and_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with recorded(path, "faces"), Reporter().task("candidates") as progress:
        for done in range(101):
            progress(done, 100, {"images/s": 2.5, "mfu": "3%"})
    told = [line for line in lines(path) if line["event"] == "progress"]
    assert [(line["task"], line["done"], line["total"]) for line in told] == [("candidates", 0, 100), ("candidates", 100, 100)]
    assert told[1]["images/s"] == 2.5
    assert "mfu" not in told[1]


def test_a_disk_that_is_full_costs_events_and_says_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.symlink_to("/dev/full")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "chmod", lambda *_: None)  # the device is everybody's
        with recorded(path, "faces"), staged("reid"):
            event("shard", shard=1)
    assert capsys.readouterr().err == ""
