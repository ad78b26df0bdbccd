import time
from typing import Any

import numpy as np
import pytest
from random_people import People, attack, people

from pd.audit.impostor_sets import Circles
from pd.audit.reidentification import default_alpha


def test_member_images_give_nearly_all_the_excess_there_can_be() -> None:
    rng = np.random.default_rng(0)
    members, holdout = people(rng, 20, 10), people(rng, 20, 10)
    found = attack(members.rows, members, holdout)
    assert found.main.value == found.main.high == 1.0
    assert 0.97 < found.main.low < 1.0  # 200 hits of 200 do not prove that there are only hits
    assert found.excess.value > 0.85
    assert found.excess.low > 0.7
    assert found.people_hit == 20
    assert found.excess.n == 200


def test_half_copies_give_half_the_excess() -> None:
    rng = np.random.default_rng(1)
    members, holdout = people(rng, 40, 5), people(rng, 40, 5)
    samples = np.concatenate([members.rows[:25].repeat(8, axis=0), people(rng, 200, 1).rows])
    found = attack(samples, members, holdout)
    assert 0.4 < found.excess.value < 0.6
    assert found.excess.low > 0.1
    assert attack(samples[:200], members, holdout).people_hit == 5


@pytest.mark.parametrize(("identities", "images"), [(400, 1), (40, 10)], ids=["strangers", "strangers in clusters"])
def test_unrelated_people_give_intervals_that_hold_0(identities: int, images: int) -> None:
    rng = np.random.default_rng(2)
    found = []
    for _ in range(100):
        members, holdout = people(rng, 20, 10), people(rng, 20, 10)
        found.append(attack(people(rng, identities, images).rows, members, holdout, seed=int(rng.integers(2**31))).excess)
    assert sum(excess.low <= 0 <= excess.high for excess in found) >= 90
    assert sum(excess.low > 0 for excess in found) <= 5  # a leak where there is none
    assert abs(np.mean([excess.value for excess in found])) < 0.02
    assert np.mean([excess.high - excess.low for excess in found]) < 0.25


def test_the_holdout_people_themselves_are_not_found_among_members() -> None:
    rng = np.random.default_rng(3)
    members, holdout = people(rng, 20, 10), people(rng, 20, 10)
    found = attack(holdout.rows, members, holdout)
    assert found.main.value == pytest.approx(0.05)  # alpha, by the threshold's definition
    assert found.excess.high < 0


def test_thresholds_are_those_of_the_definition() -> None:
    """Against a slow reading of methods: a stranger passes with probability alpha.

    On the control's side strangers meet the four people who follow theirs in a circle, and samples four who stand side by side.
    """
    rng = np.random.default_rng(4)
    members, holdout = people(rng, 10, 4), people(rng, 10, 4)
    samples = np.concatenate([members.rows[::2], people(rng, 400, 1).rows])
    alpha, seed = 0.1, 3

    def passing(scores: Any, strangers: list[float]) -> float:
        candidates = np.nextafter(np.array(strangers, np.float32), np.float32(np.inf))
        threshold = min(t for t in candidates if np.mean([s >= t for s in strangers]) <= alpha)
        return float(np.mean([score >= threshold for score in scores]))

    def likeness(row: Any, others: list[int]) -> float:
        return max(float(row @ other) for other, who in zip(holdout.rows, holdout.names, strict=True) if int(who) in others)

    to_members = [max(float(h @ m) for m in members.rows) for h in holdout.rows]
    found = attack(samples, members, holdout, alpha=alpha, seed=seed)
    assert found.main.value == pytest.approx(passing([max(s @ members.rows.T) for s in samples], to_members))
    controls = []
    for order in Circles.of(np.arange(10), seed).orders.tolist():
        after = [[order[(order.index(who) + step) % 10] for step in range(1, 5)] for who in range(10)]
        to_others = [likeness(row, after[int(who)]) for row, who in zip(holdout.rows, holdout.names, strict=True)]
        controls += [passing([likeness(sample, four) for sample in samples], to_others) for four in after]
    # Each sample meets four people of one circle, drawn by seed: the mean over all is what they tell of.
    assert found.control.value == pytest.approx(np.mean(controls), abs=0.03)
    assert found.excess.value == pytest.approx(found.main.value - found.control.value)


def test_a_larger_member_gallery_does_not_look_like_a_leak() -> None:
    rng = np.random.default_rng(5)
    values = [
        attack(people(rng, 400, 1).rows, people(rng, 100, 10), people(rng, 15, 10), bootstrap=50).excess.value
        for _ in range(20)
    ]
    assert abs(np.mean(values)) < 0.03


def test_equal_seeds_give_equal_results_and_paired_draws() -> None:
    rng = np.random.default_rng(6)
    members, holdout = people(rng, 20, 5), people(rng, 20, 5)
    first, again = (attack(members.rows, members, holdout) for _ in range(2))
    assert first == again
    assert (first.draws == again.draws).all()
    other = attack(members.rows, members, holdout, seed=4)
    assert (first.draws != other.draws).any()
    close = members.rows + 0.005 * rng.normal(size=members.rows.shape).astype(np.float32)
    paired = attack(close, members, holdout).draws
    assert (first.draws - paired).std() < 0.5 * (first.draws - other.draws).std()


def test_a_generator_of_one_person_has_an_interval() -> None:
    rng = np.random.default_rng(7)
    members, holdout = people(rng, 20, 5), people(rng, 20, 5)
    found = attack(np.repeat(members.rows[:1], 100, axis=0), members, holdout)
    assert found.people_hit == 1
    assert found.main.value == 1.0
    assert np.isfinite(found.draws).all()


def test_what_makes_no_sense_is_refused() -> None:
    rng = np.random.default_rng(8)
    members, holdout = people(rng, 4, 2), people(rng, 4, 2)
    broken = members.rows.copy()
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="sample_to_member: NaN"):
        attack(broken, members, holdout)
    with pytest.raises(ValueError, match=r"expected \(8, 7\)"):
        attack(members.rows, People(members.rows, members.names[:-1]), holdout)
    with pytest.raises(ValueError, match="two hold-out identities"):
        attack(members.rows, members, People(holdout.rows, ["one"] * 8))


def test_alpha_follows_the_strangers() -> None:
    people = [f"p{i}" for i in range(100)]
    assert [default_alpha(people[:n]) for n in (99, 100)] == [0.05, 0.01]
    assert [default_alpha(people[:n] * 50) for n in (19, 20)] == [0.05, 0.01]  # a thousand pictures


def test_a_thousand_resamples_take_about_a_second() -> None:
    rng = np.random.default_rng(9)
    members, holdout = people(rng, 20, 10), people(rng, 10, 10)
    begin = time.process_time()
    found = attack(people(rng, 1024, 1).rows, members, holdout, bootstrap=1000)
    assert len(found.draws) == 1000
    assert time.process_time() - begin < 5  # 0.3 s of CPU on a free core
