"""Stages of a run in a bucket: what one machine finished is done on every other."""

import io

import pytest
from rich.console import Console

from pd.config import parse_settings
from pd.config.mirrored import as_written
from pd.errors import UserError
from pd.pipeline import run_pipeline, states
from pd.progress import Reporter
from pd.store.files import digest_folder
from pd.store.lease import LEASES
from pd.store.mirror import place_of
from pd.store.run import Run


def settings_on(root, **more):
    return parse_settings({"name": root.name, "runs": as_written(root.parent), **more})


def ingest(settings):
    """Run it; returns the run and what was said."""
    said = io.StringIO()
    run = run_pipeline(settings, Reporter(Console(file=said, width=400)), only=["ingest"])
    return run, said.getvalue()


def state_of(settings):
    return next((state.state, state.why, state.bytes) for state in states(settings) if state.name == "ingest")


def test_a_stage_is_done_on_every_machine_and_known_without_its_files(machine):
    run, _ = ingest(settings_on(machine("a")))
    digest, size = digest_folder(run.dataset), state_of(settings_on(run.root))[2]
    there = Run(machine("b"))
    assert state_of(settings_on(there.root)) == ("done", None, size)
    assert not there.dataset.exists()
    _, said = ingest(settings_on(there.root))
    assert f"nothing to do: ingest is done in {as_written(there.root)}" in said
    ingest(settings_on(there.root, seed=8))
    again = Run(machine("a"))
    assert state_of(settings_on(again.root, seed=8))[0] == "done"
    assert state_of(settings_on(again.root))[0] == "stale"
    ingest(settings_on(again.root))
    assert digest_folder(again.dataset) == digest
    assert place_of(again.root)[0].objects(LEASES) == []


def test_a_record_without_its_outputs_is_none(machine):
    run, _ = ingest(settings_on(machine("a")))
    place, _ = place_of(run.root)
    place.delete(".commits/private/dataset.json")
    assert state_of(settings_on(machine("b")))[0] == "missing"
    assert state_of(settings_on(machine("a")))[0] == "missing"
    ingest(settings_on(machine("b")))
    assert state_of(settings_on(machine("a")))[0] == "done"


def test_a_run_does_not_lie_among_the_images(machine):
    root = machine("a")
    data = {"reader": "folder", "path": as_written(root.parent)}
    with pytest.raises(UserError, match="the run would lie among the images"):
        run_pipeline(settings_on(root, data=data), Reporter())
