import numpy as np
import pytest
from random_people import people

from pd.audit.attackers.base import Embedded
from pd.audit.attributes import Targets, guess_halves, guess_label, of_half, of_label
from pd.audit.results import Guessed
from pd.dataset.private import PrivateDataset

PEOPLE, EACH = 40, 5


def simulated(rng: np.random.Generator, leak: bool) -> Guessed:
    """Attributes that no picture shows; a generator that leaks makes samples of members with their own labels."""
    sides = [people(rng, PEOPLE, EACH) for _ in range(2)]
    truths = [np.repeat(rng.permutation(PEOPLE) % 2, EACH).astype(float) for _ in range(2)]
    if leak:
        samples, labels = np.repeat(sides[0].rows, 10, axis=0), np.repeat(truths[0], 10)
    else:
        samples, labels = people(rng, 300, 1).rows, rng.integers(0, 2, 300).astype(float)
    targets = [Targets(side.names, {"hat": truth}) for side, truth in zip(sides, truths, strict=True)]
    guesses = [guess_label(samples, labels, Embedded(side.rows, side.rows)) for side in sides]
    found = of_label("hat", targets[0], targets[1], (guesses[0], guesses[1]), bootstrap=200, seed=1)
    assert isinstance(found, Guessed)
    return found


def test_labels_of_memorised_people_are_disclosed() -> None:
    found = simulated(np.random.default_rng(0), leak=True)
    assert found.members.value > 0.9
    assert found.holdout.low < 0.5 < found.holdout.high
    assert found.advantage.low > 0.1
    assert found.members.n == PEOPLE * EACH


def test_labels_of_people_it_never_saw_are_not() -> None:
    rng = np.random.default_rng(1)
    found = [simulated(rng, leak=False).advantage for _ in range(100)]
    assert sum(advantage.low <= 0 <= advantage.high for advantage in found) >= 90
    assert sum(advantage.low > 0 for advantage in found) <= 6


def test_samples_without_the_label_do_not_vote() -> None:
    rows = people(np.random.default_rng(2), 4, 1).rows
    pictures = Embedded(rows, rows)
    labels = np.array([np.nan, 1.0, np.nan, np.nan])
    assert guess_label(rows, labels, pictures).tolist() == [1.0] * 4
    assert np.isnan(guess_label(rows, np.full(4, np.nan), pictures)).all()


def test_what_cannot_be_told_is_said() -> None:
    names = ["a", "b", "c", "d"]
    some, other = (Targets(names, {"hat": np.array(values)}) for values in ([0.0, 1, 0, 1], [0.0, 0, 0, 1]))
    guess = (np.zeros(4), np.zeros(4))
    assert of_label("hat", some, other, guess, bootstrap=5, seed=0) == "fewer than 2 hold-out people have it"
    ages = Targets(names, {"hat": np.array([20.0, 31, 42, 53])})
    assert of_label("hat", ages, some, guess, bootstrap=5, seed=0) == "not a yes-or-no label"


def test_hidden_halves_of_copied_people_are_disclosed(orl: PrivateDataset) -> None:
    members, strangers = orl.members(), orl.holdout_half("audit", 7)
    others = orl.holdout_half("calibration", 7).images

    def told(samples: np.ndarray) -> Guessed:
        guessed = [(guess_halves(samples, side.images), side.identities) for side in (members, strangers)]
        return of_half(guessed[0], guessed[1], bootstrap=200, seed=1)

    copied = told(np.concatenate([members.images, others]))
    assert copied.members.value == pytest.approx(1.0, abs=0.01)
    assert copied.advantage.low > 0.1
    nobody = told(others)
    assert nobody.advantage.low <= 0 <= nobody.advantage.high
