import numpy as np
import pytest
from random_people import People, people

from pd.audit.estimate import share
from pd.audit.impostor_sets import Circles
from pd.audit.nearest import Nearest
from pd.audit.power import LEAKED, Power, power
from pd.audit.recognition import Recognised
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
    return could(members, holdout, again(members), samples), members, holdout


def could(members: People, holdout: People, scores: np.ndarray, samples: int, looks: int = 1) -> Power:
    """Of an attacker to whom pictures of members are so like the gallery."""
    strangers = (holdout.rows @ members.rows.T).max(axis=1)
    pictures = Recognised(share(np.ones(len(scores), bool)), scores, strangers)
    who = np.array([int(name) for name in holdout.names])
    others = Circles.of(who, 0).strangers(lambda rows: holdout.rows[rows] @ holdout.rows.T)
    seen = np.array([int(name) for name in members.names])
    return power(pictures, others, seen, who, samples=samples, alpha=ALPHA, seed=3, looks=looks)


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
    strangers = (people(rng, 200, 1).rows @ members.rows.T).max(axis=1)
    said = could(members, holdout, strangers, 200)
    assert said.detectable is None
    assert said.planted is None


def test_of_several_attackers_each_sees_less() -> None:
    rng = np.random.default_rng(5)
    members, holdout = people(rng, 20, 10), people(rng, 20, 10)
    alone, one_of_five = (could(members, holdout, again(members), 400, looks).planted for looks in (1, 5))
    assert alone is not None
    assert one_of_five is None or one_of_five > alone
