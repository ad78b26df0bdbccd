"""One `pd` a run in a bucket, on a real S3 server."""

import time

import pytest
from refusals import refused_as

from pd.errors import UserError
from pd.store import lease as module
from pd.store.lease import LEASES, lease
from pd.store.mirror import place_of


def test_a_second_machine_is_refused_and_comes_in_afterwards(machine):
    first = machine("a")
    with lease(first) as ours:
        ours()
        with refused_as("busy", "s3://"), lease(machine("b")):
            pass
        ours()
    with lease(machine("b")):
        pass
    place, _ = place_of(machine("a"))
    assert place.objects(LEASES) == []


def test_what_a_killed_pd_left_is_in_nobodys_way_on_its_own_machine(machine):
    first = machine("a")
    with lease(first):
        place, _ = place_of(first)
        left = place.objects(LEASES)[0].name
    place.write(left, b"")
    with lease(first):
        pass


def test_what_a_killed_pd_left_runs_out_elsewhere(machine, monkeypatch):
    first = machine("a")
    place, _ = place_of(first)
    place.write(f"{LEASES}/killed", b"")
    with refused_as("busy"), lease(first):
        pass
    monkeypatch.setattr(module, "LIFE_S", 2.0)
    time.sleep(3.1)  # S3 tells whole seconds
    with lease(first):
        pass


@pytest.mark.exhaustive
def test_who_cannot_renew_in_time_learns_it(machine, monkeypatch):
    monkeypatch.setattr(module, "RENEW_S", 0.05)
    with lease(machine("a")) as ours:
        monkeypatch.setattr(module, "LIFE_S", 2.0)
        time.sleep(0.5)
        ours()
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        time.sleep(2.5)
        with refused_as("busy"):
            ours()


def test_who_finds_another_beside_it_learns_it(machine, monkeypatch):
    monkeypatch.setattr(module, "RENEW_S", 0.05)
    first = machine("a")
    with lease(first) as ours:
        place_of(first)[0].write(f"{LEASES}/other", b"")
        for _ in range(100):
            time.sleep(0.05)
            try:
                ours()
            except UserError:
                return
        raise AssertionError("not noticed")
