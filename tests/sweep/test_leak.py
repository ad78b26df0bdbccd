"""The same figure as the audit's, from what was counted once; and known truth."""

import numpy as np
import numpy.typing as npt
import pytest
from random_people import People, attack, people

from pd.audit.estimate import multiplicities, number
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
    alike = holdout.rows @ holdout.rows.T
    others = np.where(stranger[:, None] == stranger[None], -np.inf, alike).max(axis=1)
    bars = [
        Bars.of(scores.astype(np.float32), drawn[1][:, stranger], ALPHA)
        for scores in ((holdout.rows @ members.rows.T).max(axis=1), others)
    ]
    main, control = samples @ members.rows.T, samples @ holdout.rows.T
    nearest = control.argmax(axis=1)
    second = np.where(stranger[nearest][:, None] == stranger[None], -np.inf, control)
    group = member[main.argmax(axis=1)] * (stranger.max() + 1) + stranger[nearest]
    cells = [
        (group * (len(one.values) + 1) + one.level(likeness.max(axis=1))).astype(np.int32)
        for one, likeness in zip((*bars, bars[1]), (main, control, second), strict=True)
    ]
    weights = [one.astype(np.float32) for one in drawn]
    return View(*cells, bars[0].which, bars[1].which, *weights, np.array([stranger.max() + 1]))


@pytest.mark.parametrize("copied", [0, 30, 200], ids=["nothing copied", "some", "all"])
def test_a_subset_leaks_what_the_audit_says_of_it(copied: int) -> None:
    rng = np.random.default_rng(copied)
    members, holdout = people(rng, 20, 10), people(rng, 15, 10)
    samples = np.concatenate([members.rows[:copied], people(rng, 100, 4).rows])
    chosen = rng.random(len(samples)) < 0.7
    found = leak({"only": [view(samples, members, holdout)]}, chosen, seed=1)
    truth = attack(samples[chosen], members, holdout, alpha=ALPHA, bootstrap=300).excess
    assert found is not None
    assert found.excess.value == pytest.approx(truth.value, abs=1e-12)
    assert found.excess.n == truth.n == chosen.sum()
    # Drawn otherwise, so not the same to the digit; and never much narrower.
    assert found.excess.high - found.excess.low == pytest.approx(truth.high - truth.low, rel=0.35)
    assert found.excess.low == pytest.approx(truth.low, abs=0.05)
    assert found.excess.high == pytest.approx(truth.high, abs=0.05)


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
