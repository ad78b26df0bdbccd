"""The gap between the losses of those who are learned from and of others: closed before a model remembers, open after."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from pd.audit.estimate import Estimate
from pd.audit.gap import Look, choose, look

PEOPLE = [f"p{row // 4}" for row in range(160)]
MEMBERS = np.arange(160) < 80


def losses(seed: int, lower: float = 0.0) -> np.ndarray:
    """Of pictures that are more or less hard; members' losses are lower by this share."""
    hard = np.random.default_rng(0).normal(0, 0.3, len(PEOPLE))
    noise = np.random.default_rng(seed).normal(0, 0.02, len(PEOPLE))
    return np.exp(hard + noise - lower * MEMBERS)


def test_the_interval_is_welchs_over_people() -> None:
    found = look(10, losses(1), None, PEOPLE, MEMBERS)
    means = np.log(losses(1)).reshape(-1, 4).mean(axis=1)
    known = ttest_ind(means[20:], means[:20], equal_var=False).confidence_interval()
    assert found.widening is None
    assert (found.gap.low, found.gap.high) == pytest.approx((known.low, known.high))


def test_a_gap_that_opens_is_seen_by_each_pictures_own_loss_where_the_plain_one_is_blunt() -> None:
    first = losses(1)
    before, after = (look(20, losses(2, lower), first, PEOPLE, MEMBERS) for lower in (0.0, 0.05))
    assert before.widening is not None
    assert before.widening.low < 0 < before.widening.high
    assert not before.remembers
    assert after.widening is not None
    assert after.widening.value == pytest.approx(0.05, abs=0.01)
    assert after.gap.low < 0  # which pictures are hard hides it
    assert after.remembers


def test_what_is_remembered_by_the_first_checkpoint_is_seen_there() -> None:
    assert look(10, losses(1, lower=1.0), None, PEOPLE, MEMBERS).remembers


def test_the_last_checkpoint_before_the_first_that_remembers_is_taken() -> None:
    looks = [Look(step, Estimate(0.1, low, 0.2, 9), None) for step, low in ((1, -0.1), (2, -0.1), (3, 0.01), (4, -0.1))]
    assert choose(looks) == 1
    assert choose(looks[:2]) == 1
    assert choose(looks[2:]) == 0


def test_one_person_alone_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two people"):
        look(1, np.ones(3), None, ["a", "b", "c"], np.array([True, False, False]))
