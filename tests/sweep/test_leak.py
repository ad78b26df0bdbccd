"""The same figure as the audit's, from what was counted once; and known truth."""

import numpy as np
import numpy.typing as npt
import pytest
from random_people import People, attack, people

from pd.audit.estimate import multiplicities, number
from pd.audit.impostor_sets import Circles
from pd.audit.nearest import Nearest
from pd.sweep.leak import Bars, View, leak

ALPHA = 0.05
Rows = npt.NDArray[np.float32]


def view(samples: Rows, members: People, holdout: People, *, resamples: int = 300, seed: int = 3) -> View:
    member, stranger = number(members.names), number(holdout.names)
    rng = np.random.default_rng(seed)
    drawn = [
        np.concatenate([np.ones((1, who.max() + 1)), multiplicities(int(who.max()) + 1, resamples, rng)])
        for who in (member, stranger)
    ]
    weight = drawn[1][:, stranger]
    circles = Circles.of(stranger, seed)
    control = [Bars.of(scores, weight, ALPHA) for scores in circles.strangers(lambda rows: holdout.rows[rows] @ holdout.rows.T)]
    main = Bars.of((holdout.rows @ members.rows.T).max(axis=1), weight, ALPHA)
    to_member = Nearest.of(samples @ members.rows.T)
    to_stranger, met = circles.samples(lambda rows: samples[rows] @ holdout.rows.T, len(samples))
    group = member[to_member.row] * (stranger.max() + 1) + stranger[to_stranger.row]
    resampled = drawn[0].astype(np.float32), drawn[1].astype(np.float32)
    return View.of(group, to_member.score, met, main, control, resampled)


@pytest.mark.parametrize("copied", [0, 30, 200], ids=["nothing copied", "some", "all"])
def test_a_subset_leaks_what_the_audit_says_of_it(copied: int) -> None:
    rng = np.random.default_rng(copied)
    members, holdout = people(rng, 20, 10), people(rng, 15, 10)
    samples = np.concatenate([members.rows[:copied], people(rng, 100, 4).rows])
    samples = samples[rng.permutation(len(samples))]
    chosen = np.arange(len(samples)) < 0.7 * len(samples)  # the first: so each meets the same people as in an audit of these
    found = leak({"only": [view(samples, members, holdout)]}, chosen, seed=1)
    truth = attack(samples[chosen], members, holdout, alpha=ALPHA, bootstrap=300).excess
    assert found is not None
    assert found.excess.value == pytest.approx(truth.value, abs=1e-12)
    assert found.excess.n == truth.n == chosen.sum()
    # Drawn otherwise, so not the same to the digit.
    assert found.excess.high - found.excess.low == pytest.approx(truth.high - truth.low, rel=0.25)
    assert found.excess.low == pytest.approx(truth.low, abs=0.05)
    assert found.excess.high == pytest.approx(truth.high, abs=0.05)


def test_unrelated_people_are_covered_95_times_in_100_in_two_folds_of_five_strangers() -> None:
    rng, found = np.random.default_rng(1), []
    for _ in range(100):
        members, folds = people(rng, 20, 10), [people(rng, 5, 10) for _ in range(2)]
        samples = people(rng, 200, 1).rows
        views = {"only": [view(samples, members, fold, resamples=200, seed=int(rng.integers(2**31))) for fold in folds]}
        found.append(leak(views, np.ones(200, dtype=bool), seed=1).excess)  # type: ignore[union-attr]
    assert sum(one.low <= 0 <= one.high for one in found) >= 95
    assert sum(one.low > 0 for one in found) <= 4


def test_copies_leak_nearly_all_and_strangers_nothing() -> None:
    rng = np.random.default_rng(7)
    members, holdout = people(rng, 20, 10), people(rng, 20, 10)
    samples = np.concatenate([members.rows, people(rng, 200, 1).rows])
    views = {"only": [view(samples, members, holdout)]}
    copies = np.arange(len(samples)) < len(members.rows)
    found, none = leak(views, copies, seed=1), leak(views, ~copies, seed=1)
    assert found is not None
    assert none is not None
    assert found.excess.low > 0.8
    assert none.excess.low <= 0 <= none.excess.high


def test_the_worst_attacker_counts_and_folds_are_averaged() -> None:
    rng = np.random.default_rng(8)
    members, one, two = people(rng, 20, 10), people(rng, 8, 10), people(rng, 8, 10)
    samples = np.concatenate([members.rows[:50], people(rng, 150, 1).rows])
    seeing = [view(samples, members, one), view(samples, members, two)]
    blind = [view(people(rng, 200, 1).rows, members, one), view(people(rng, 200, 1).rows, members, two)]
    all_of_them = np.ones(200, dtype=bool)
    found = leak({"blind": blind, "seeing": seeing}, all_of_them, seed=1)
    folds = [leak({"seeing": [fold]}, all_of_them, seed=1) for fold in seeing]
    assert found is not None
    assert found.attacker == "seeing"
    assert set(found.by_attacker) == {"blind", "seeing"}
    assert found.excess.value == pytest.approx(np.mean([fold.excess.value for fold in folds if fold]))


def test_no_hit_among_few_samples_is_no_proof() -> None:
    rng = np.random.default_rng(9)
    members, holdout = people(rng, 20, 10), people(rng, 20, 10)
    samples = people(rng, 2000, 1).rows
    views = {"only": [view(samples, members, holdout)]}
    few = np.zeros(2000, dtype=bool)
    main, _ = views["only"][0].rates(~few)
    assert 0 < main[0] < 0.2
    quiet = [row for row in range(2000) if views["only"][0].rates(np.arange(2000) == row)[0][0] == 0][:3]
    few[quiet] = True
    found = leak(views, few, seed=1)
    assert found is not None
    assert found.excess.n == 3
    assert found.excess.high > 0.3


def test_an_empty_subset_has_no_figure() -> None:
    rng = np.random.default_rng(10)
    members, holdout = people(rng, 5, 4), people(rng, 5, 4)
    assert leak({"only": [view(members.rows, members, holdout)]}, np.zeros(20, dtype=bool), seed=1) is None
