"""What is written for those who watch: lines, and TensorBoard's events, read back."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_training import events, job_folder, records, settings, train

from pd.engine.training import progress_file
from pd.engine.training.progress_file import ProgressReader, ProgressWriter


def test_records_reach_the_file_the_listener_and_tensorboard(tmp_path: Path) -> None:
    told: list[dict[str, object]] = []
    path = tmp_path / "progress.jsonl"
    writer = ProgressWriter(path, tmp_path / "events", told.append)
    reader = ProgressReader(path)
    writer.write(0, 9, phase="preparing")
    writer.write(4, 9, loss=0.5, mfu=0.25, samples="failed (X)")
    picture = np.arange(6 * 5, dtype=np.uint8).reshape(6, 5, 1)
    writer.picture(4, picture)
    writer.close(True)
    assert told == [
        {"step": 0, "steps": 9, "phase": "preparing"},
        {"step": 4, "steps": 9, "loss": 0.5, "mfu": 0.25, "samples": "failed (X)"},
    ]
    assert [json.loads(line) for line in path.read_text().splitlines()] == told
    assert reader.latest() == told[-1]
    assert reader.latest() is None
    *scalars, (tag, step, image) = events(tmp_path / "events")
    assert scalars == [("training/loss", 4, 0.5), ("training/mfu", 4, 0.25)]
    assert (tag, step) == ("samples", 4)
    with Image.open(io.BytesIO(image)) as shown:
        assert np.array_equal(np.asarray(shown.convert("L")), picture[..., 0])


def test_other_ranks_write_nothing(tmp_path: Path) -> None:
    writer = ProgressWriter(None, tmp_path / "events")
    writer.write(1, 2, loss=1.0)
    writer.picture(1, np.zeros((2, 2, 1), np.uint8))
    assert not writer.due()
    writer.close(True)
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_is_not_whole_yet_waits(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    reader = ProgressReader(path)
    assert reader.latest() is None
    path.write_text('{"step": 1}\n{"step": 2')
    assert reader.latest() == {"step": 1}
    path.write_text('{"step": 1}\n{"step": 2}\n')
    assert reader.latest() == {"step": 2}


def test_a_training_writes_every_figure_of_every_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_file, "EVERY_S", 0.0)
    train(tmp_path, settings(steps=3))
    reported = [record for record in records(tmp_path) if "loss" in record]
    assert [record["step"] for record in reported] == [1, 2, 3]
    names = {"loss", "loss_step", "learning_rate", "gradient_norm", "images_per_s", "mfu", "memory_gb"}
    assert all(set(record) == names | {"step", "steps"} for record in reported)
    assert all(record[name] > 0 for record in reported for name in names)
    for last, record in enumerate(reported, start=1):
        assert record["loss"] == pytest.approx(sum(earlier["loss_step"] for earlier in reported[:last]) / last)
    found = events(job_folder(tmp_path) / "tensorboard")
    for record in reported:
        for name in names:
            assert (f"training/{name}", record["step"], pytest.approx(record[name], rel=1e-6)) in found
