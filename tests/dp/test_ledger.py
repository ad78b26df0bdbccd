"""Epsilons are those of dp-accounting and, as an oracle, Opacus; a ledger is data and adds up."""

import json
import math
from pathlib import Path

import dp_accounting
import pytest
from dp_accounting import pld, rdp
from refusals import refused_as

from pd.dp.events import gaussian, one_of, poisson_sampled, times, unprotected
from pd.dp.ledger import Ledger
from pd.errors import UserError

DELTA = 1e-5
SGD = times(600, poisson_sampled(512 / 60_000, gaussian(0.8)))


def test_epsilon_is_dp_accountings_own() -> None:
    found = Ledger().spend("sgd", SGD).spend("means", gaussian(4.0)).epsilon(DELTA)
    theirs = {}
    for name, accountant in (("rdp", rdp.RdpAccountant()), ("pld", pld.PLDAccountant(value_discretization_interval=1e-3))):
        accountant.compose(dp_accounting.PoissonSampledDpEvent(512 / 60_000, dp_accounting.GaussianDpEvent(0.8)), 600).compose(
            dp_accounting.GaussianDpEvent(4.0)
        )
        theirs[name] = accountant.get_epsilon(DELTA)
    assert found.by == pytest.approx(theirs, rel=1e-12)
    assert found.value == min(theirs.values())
    assert found.accountant == "pld"


def test_epsilon_agrees_with_opacus() -> None:
    from opacus.accountants import RDPAccountant

    theirs = RDPAccountant()
    theirs.history = [(0.8, 512 / 60_000, 600)]
    ours = Ledger().spend("sgd", SGD).epsilon(DELTA)
    assert ours.by["rdp"] == pytest.approx(theirs.get_epsilon(DELTA), rel=0.02)
    assert ours.by["pld"] <= theirs.get_epsilon(DELTA)


def test_a_gaussian_has_its_closed_form() -> None:
    """delta(epsilon) of Balle & Wang, arXiv 1805.06530, theorem 8; the accountant's bound lies above, by its grid."""
    from scipy.stats import norm

    value = Ledger().spend("sum", gaussian(2.0)).epsilon(DELTA).value
    delta = norm.cdf(0.25 - 2 * value) - math.exp(value) * norm.cdf(-0.25 - 2 * value)
    assert delta <= DELTA
    below = value * 0.99
    assert norm.cdf(0.25 - 2 * below) - math.exp(below) * norm.cdf(-0.25 - 2 * below) > DELTA


def test_ledgers_add_up_and_survive_a_file(tmp_path: Path) -> None:
    one, two = Ledger().spend("a", gaussian(3.0)), Ledger().spend("b", gaussian(4.0))
    both = one.and_(two)
    assert both.epsilon(DELTA).value == pytest.approx(Ledger().spend("ab", gaussian(2.4)).epsilon(DELTA).value, rel=1e-3)
    both.save(tmp_path / "ledger.json")
    assert Ledger.load(tmp_path / "ledger.json") == both


def test_unprotected_use_has_no_finite_epsilon() -> None:
    assert math.isinf(Ledger().spend("teacher", unprotected()).epsilon(DELTA).value)


def test_relations_do_not_mix() -> None:
    with refused_as("bad-ledger", "ledger"):
        Ledger("replace").and_(Ledger())


def test_what_no_accountant_supports_is_an_error() -> None:
    event = times(3, poisson_sampled(0.1, one_of(4, gaussian(1.0))))
    with refused_as("bad-ledger", "ledger"):
        Ledger().spend("both", event).epsilon(DELTA)


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "magic"},
        {"kind": "gaussian"},
        {"kind": "gaussian", "noise_multiplier": -1.0},
        {"kind": "gaussian", "noise_multiplier": "1"},
        {"kind": "gaussian", "noise_multiplier": 1.0, "note": "x"},
        {"kind": "poisson_sampled", "probability": 1.5, "event": {"kind": "gaussian", "noise_multiplier": 1.0}},
        {"kind": "times", "count": 0, "event": {"kind": "gaussian", "noise_multiplier": 1.0}},
        [],
    ],
)
def test_unknown_events_are_refused(event: object, tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    tree = {"schema": 1, "unit": "person", "relation": "zero_out", "entries": [{"what": "x", "event": event}]}
    path.write_text(json.dumps(tree), encoding="utf-8")
    with pytest.raises(UserError):
        Ledger.load(path)


def test_one_of_k_parts_is_bounded_by_numerical_integration() -> None:
    """The true divergence of a mixture, at the worst case of the proof, is within what the ledger says.

    One of K = 4 Gaussians is drawn; one of them moves by 2 C, noise C sigma: the accountant is told Gaussian(sigma / 2).
    """
    import numpy as np
    from scipy.stats import norm

    k, sigma = 4, 3.0
    epsilon = Ledger("replace").spend("one step", one_of(k, gaussian(sigma / 2))).epsilon(1e-3).value
    x = np.linspace(-40, 40, 400_001)
    for others in (-1.0, 0.0, 1.0):  # where the untouched teachers' gradients lie
        rest = (k - 1) / k * norm.pdf(x, others, sigma)
        p, q = (rest + norm.pdf(x, end, sigma) / k for end in (1.0, -1.0))
        delta = np.trapezoid(np.maximum(p - np.exp(epsilon) * q, 0), x)
        assert delta <= 1e-3


def test_hardly_any_noise_fills_no_memory() -> None:
    """A release is read by whoever got it: its ledger may say anything."""
    found = Ledger().spend("sum", gaussian(1e-3)).epsilon(DELTA)
    assert found.accountant == "rdp"
    assert found.value > 1e5
    assert math.isinf(Ledger("replace").spend("sum", times(10, poisson_sampled(0.1, gaussian(1e-3)))).epsilon(DELTA).value)


def test_numbers_that_no_training_has_are_no_ledger() -> None:
    tree = Ledger().spend("sum", gaussian(1.0)).to_json()
    tree["entries"][0]["event"]["noise_multiplier"] = 10**400
    with refused_as("bad-ledger", "ledger"):
        Ledger.from_json(tree)


def test_sampling_without_replacement_is_no_poisson_sample() -> None:
    event = {"kind": "sampled_without_replacement", "probability": 0.1, "event": gaussian(1.0)}
    with refused_as("bad-ledger"):
        Ledger().spend("sgd", event)
