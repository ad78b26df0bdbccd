"""The gap between the losses of those who are learned from and of others: closed before a model remembers, open after."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from pd.audit.estimate import Estimate
from pd.audit.gap import Look, choose, look, reference

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
    assert found.memorised is None
    assert (found.gap.low, found.gap.high) == pytest.approx((known.low, known.high))


@pytest.mark.parametrize(
    ("ours", "others", "expected"),
    [
        (0.20, 0.15, False),  # most of it helps on other people, too
        (0.20, 0.06, True),  # most of it does not
        (0.20, -0.10, True),  # other people's loss rises
        (-0.05, -0.06, False),  # both rise: nothing was learned
    ],
)
def test_a_model_memorises_where_members_gain_more_than_twice_what_other_people_do(
    ours: float, others: float, expected: bool
) -> None:
    now = losses(2) * np.exp(-np.where(MEMBERS, ours, others))
    found = look(20, now, losses(1), PEOPLE, MEMBERS)
    assert found.memorised is not None
    assert found.memorised.value == pytest.approx(ours - 2 * max(others, 0), abs=0.02)
    assert found.remembers is expected


def test_a_gap_from_the_start_is_no_memory() -> None:
    """Which pictures are hard to denoise makes a gap before anything is learned."""
    before = losses(1, lower=1.0)
    found = look(20, before * 0.5, before, PEOPLE, MEMBERS)
    assert found.gap.low > 0.7
    assert not found.remembers


def test_a_checkpoint_is_compared_with_that_of_half_its_steps() -> None:
    assert reference(0, []) is None
    assert reference(300, [0]) == 0
    assert reference(600, [0, 300]) == 300
    assert reference(900, [0, 300, 600]) == 300
    assert reference(1200, [0, 300, 600, 900]) == 600


def test_the_last_checkpoint_before_the_first_that_remembers_is_taken() -> None:
    gap = Estimate(0.1, 0.0, 0.2, 9)
    looks = [Look(step, gap, Estimate(0.1, low, 0.2, 9)) for step, low in ((1, -0.1), (2, -0.1), (3, 0.01), (4, -0.1))]
    assert choose(looks) == 1
    assert choose(looks[:2]) == 1
    assert choose(looks[2:]) == 0
    untrained = Look(0, gap, None)
    assert choose([untrained, *looks[2:]]) == 1
    assert choose([untrained, *looks]) == 2


def test_one_person_alone_has_no_interval() -> None:
    with pytest.raises(ValueError, match="two people"):
        look(1, np.ones(3), None, ["a", "b", "c"], np.array([True, False, False]))
