import numpy as np
import pytest
from random_people import People, attack, people

from pd.audit.impostor_sets import CIRCLES, Circles


def test_no_pair_of_people_meets_twice_and_all_meet_as_many() -> None:
    who = np.repeat(np.arange(9), 2)
    circles = Circles.of(who, 3)
    for circle in range(CIRCLES):
        met = set()
        for person in range(9):
            for other in range(9):
                likeness = np.where(who[None] == other, 1.0, 0.0).repeat(len(who), axis=0).astype(np.float32)
                scores = circles.strangers(lambda rows, all_of=likeness: all_of[rows])[circle]
                assert len(set(scores[who == person])) == 1
                if scores[2 * person]:
                    met.add((person, other))
        assert len(met) == 9 * 4
        assert not met & {(other, person) for person, other in met}


def test_samples_meet_as_many_people_as_strangers_do() -> None:
    who = np.repeat(np.arange(9), 2)
    circles = Circles.of(who, 3)
    counts = np.zeros(600)
    for person in range(9):
        likeness = np.where(who == person, 1.0, 0.0).astype(np.float32)[None].repeat(600, axis=0)
        nearest, met = circles.samples(lambda rows, all_of=likeness: all_of[rows], 600)
        assert (who[nearest.row] == person).all()
        counts += met.score
        assert met.score.mean() == pytest.approx(4 / 9, abs=0.08)
    assert (counts == 4).all()
    assert np.bincount(met.circle).tolist() == [600 / CIRCLES] * CIRCLES


def test_two_people_meet_each_other_and_one_is_refused() -> None:
    circles = Circles.of(np.array([0, 0, 1]), 0)
    likeness = np.array([[9, 8, 1], [8, 9, 2], [1, 2, 9]], np.float32)
    assert circles.strangers(lambda rows: likeness[rows]).tolist() == [[1, 2, 2]] * CIRCLES
    with pytest.raises(ValueError, match="two hold-out identities"):
        Circles.of(np.zeros(3, np.int64), 0)


def test_unrelated_samples_pass_for_holdout_people_as_often_as_for_members() -> None:
    """Few people, each of whose pictures are nearly the same: compared with all others, the control was twice the main rate."""
    rng = np.random.default_rng(0)

    def alike(count: int) -> People:
        some = people(rng, count, 1)
        rows = some.rows.repeat(10, axis=0) + 0.02 * rng.normal(size=(10 * count, 64)).astype(np.float32)
        return People(rows / np.linalg.norm(rows, axis=1, keepdims=True), [name for name in some.names for _ in range(10)])

    found = [attack(people(rng, 100, 1).rows, alike(20), alike(8), bootstrap=2) for _ in range(150)]
    assert np.mean([one.control.value for one in found]) == pytest.approx(np.mean([one.main.value for one in found]), abs=0.025)
