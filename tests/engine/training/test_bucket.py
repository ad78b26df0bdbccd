"""A training whose machine goes, and whose bucket stays."""

import pytest
import torch
from small_training import job_folder, records, settings, train, train_until, weights

from pd.store.mirror import committed, refresh


def test_a_training_goes_on_elsewhere_from_its_last_checkpoint(machine, tmp_path):
    train(tmp_path / "here", settings())
    expected = weights(tmp_path / "here" / "out")
    train_until(machine("a"), settings(), step=5)
    folder = machine("b")
    train(folder, settings())
    assert [record["step"] for record in records(folder) if record.get("phase") == "resumed"] == [4]
    found = weights(folder / "out")
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    kept = {path.name for path in job_folder(folder).iterdir()}
    assert {"model", "done.json", "progress.jsonl"} <= kept
    assert not kept & {"inputs", "cache", "local_00000006"}
    refresh(folder)
    assert not any("/cache/" in name or "/inputs/" in name or "/local_" in name for name in committed(folder))


def test_a_finished_training_is_not_repeated_elsewhere(machine, monkeypatch):
    folder = machine("a")
    first = train(folder, settings())

    def fail(*arguments: object) -> None:
        pytest.fail("trained again")

    monkeypatch.setattr("pd.engine.training.train._train_here", fail)
    there = machine("b")
    assert train(there, settings()) == first
    assert weights(there / "out").keys()
