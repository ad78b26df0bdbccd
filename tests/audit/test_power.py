import numpy as np
import pytest
from random_people import People, people

from pd.audit.circles import Circles
from pd.audit.nearest import Nearest
from pd.audit.power import LEAKED, Power, power
from pd.audit.reidentification import Comparison, Reidentification, excess

ALPHA = 0.05


def comparison(samples: np.ndarray, members: People, holdout: People) -> Comparison:
    who = np.array([int(name) for name in holdout.names])
    circles = Circles.of(who, 0)
    to_holdout, met = circles.samples(lambda rows: samples[rows] @ holdout.rows.T, len(samples))
    return Comparison(
        Nearest.of(samples @ members.rows.T),
        to_holdout,
        met,
        (holdout.rows @ members.rows.T).max(axis=1),
        circles.strangers(lambda rows: holdout.rows[rows] @ holdout.rows.T),
        np.array([int(name) for name in members.names]),
        who,
    )


def of(compared: Comparison, seed: int = 0) -> Reidentification:
    return excess(compared, alpha=ALPHA, bootstrap=200, seed=seed)


def measured(rng: np.random.Generator, samples: int, each: int) -> tuple[Power, People, People]:
    members, holdout = people(rng, each, 10), people(rng, each, 10)
    strangers = comparison(people(rng, samples, 1).rows, members, holdout)
    return power(strangers, again(members), alpha=ALPHA, seed=3), members, holdout


def again(members: People) -> np.ndarray:
    """How like pictures of members are to their other pictures."""
    likeness = members.rows @ members.rows.T
    np.fill_diagonal(likeness, -1)
    found: np.ndarray = likeness.max(axis=1)
    return found


def test_a_leak_of_the_size_it_names_is_found_about_80_times_in_100() -> None:
    """Whole audits of other people each: what an audit says of itself holds for them, on average."""
    rng = np.random.default_rng(0)
    said = [measured(rng, 400, 20)[0] for _ in range(4)]
    planted = float(np.mean([one.planted for one in said if one.planted]))
    assert all(one.detectable == pytest.approx(one.planted, rel=0.5) for one in said)
    assert 0.02 < planted < 0.6

    def found(share: float) -> float:
        seen = []
        for _ in range(50):
            both, holdout = people(rng, 20, 20), people(rng, 20, 10)
            members = People(both.rows[::2], both.names[::2])
            samples = people(rng, 400, 1).rows
            leaked = round(share * 400)
            others = both.rows[1::2][: 10 * LEAKED]  # of five people, other pictures than the gallery's
            samples[:leaked] = others[rng.integers(0, len(others), leaked)]
            seen.append(of(comparison(samples, members, holdout), int(rng.integers(2**31))).excess.low > 0)
        return float(np.mean(seen))

    assert 0.65 < found(planted) < 0.95
    assert found(planted / 3) < 0.4


def test_more_people_and_samples_see_smaller_leaks() -> None:
    rng = np.random.default_rng(1)
    few, many = (measured(rng, samples, each)[0].detectable for samples, each in ((60, 8), (1000, 60)))
    assert few is not None
    assert many is not None
    assert many < few


def test_an_attacker_who_recognises_nobody_is_blind() -> None:
    rng = np.random.default_rng(2)
    members, holdout = people(rng, 20, 5), people(rng, 20, 5)
    strangers = comparison(people(rng, 200, 1).rows, members, holdout)
    said = power(strangers, strangers.to_member.score, alpha=ALPHA, seed=0)
    assert said.blind
    assert said.detectable is None
    assert "could not have seen a leak" in said.words


def test_a_leak_that_is_there_does_not_hide_what_could_be_seen() -> None:
    rng = np.random.default_rng(4)
    members, holdout = people(rng, 30, 10), people(rng, 30, 10)
    samples = people(rng, 600, 1).rows
    clean = power(comparison(samples, members, holdout), again(members), alpha=ALPHA, seed=3)
    samples[:300] = members.rows
    leaky = power(comparison(samples, members, holdout), again(members), alpha=ALPHA, seed=3)
    assert clean.detectable is not None
    assert leaky.detectable == pytest.approx(clean.detectable, abs=0.06)


def test_what_resembles_members_a_little_is_taken_out_before_leaks_are_planted() -> None:
    """All samples lean towards a member: what an audit of other people sees of that was not planted."""
    rng = np.random.default_rng(5)
    members, holdout = people(rng, 20, 10), people(rng, 6, 10)
    samples = members.rows[rng.integers(200, size=600)] + 0.4 * rng.normal(size=(600, 64)).astype(np.float32)
    samples /= np.linalg.norm(samples, axis=1, keepdims=True)
    leaning = comparison(samples, members, holdout)
    assert of(leaning).excess.value > 0.1
    said = power(leaning, again(members), alpha=ALPHA, seed=3)
    assert said.planted is not None
    assert said.detectable is not None
    assert said.detectable < said.planted  # it was more: part of it had not been planted
