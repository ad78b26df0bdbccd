import numpy as np
import pytest

from pd.audit.subgroup_drop_rates import by_identity, by_label, gini


def test_drop_rates_by_label() -> None:
    dropped = np.array([True, True, False, False, True, False])
    labels = {
        "hat": np.array([1.0, 1, 0, 0, 0, np.nan]),
        "age": np.arange(6.0),
        "many": np.linspace(0, 1, 6),
        "one": np.ones(6),
    }
    found = by_label(np.tile(dropped, 3), {name: np.tile(values, 3) for name, values in labels.items()})
    assert set(found) == {"hat", "age", "many"}
    assert (found["hat"]["1"].value, found["hat"]["1"].n) == (1.0, 6)
    assert found["hat"]["1"].low < 0.7
    assert (found["hat"]["0"].value, found["hat"]["0"].n) == (pytest.approx(1 / 3), 9)
    wide = np.linspace(0, 1, 50)
    assert by_label(wide > 0.5, {"weight": wide}) == {}


def test_pictures_of_one_person_are_one_persons() -> None:
    dropped = np.repeat([True, False, True, False], 25)
    hat = {"hat": np.tile([0.0, 1.0], 50)}
    alone, together = by_label(dropped, hat)["hat"]["1"], by_label(dropped, hat, [str(i // 25) for i in range(100)])["hat"]["1"]
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_who_bears_it() -> None:
    dropped = np.array([True] * 20 + [False] * 20 + [True] * 2 + [True, False] * 5)
    names = ["rare"] * 20 + ["usual"] * 20 + ["seldom"] * 2 + ["half"] * 10
    found = by_identity(dropped, names, shown=3)
    assert [name for name, _ in found.worst] == ["rare", "seldom", "half"]
    assert found.worst[0][1].n == 20
    assert found.gini == pytest.approx(gini(np.array([1.0, 0, 1, 0.5])))


def test_gini_of_known_distributions() -> None:
    assert gini(np.full(9, 0.3)) == pytest.approx(0.0)
    assert gini(np.zeros(3)) == 0.0
    assert gini(np.eye(1, 10)[0]) == pytest.approx(0.9)
    rng = np.random.default_rng(0)
    values = rng.random(30)
    slow = np.abs(values[:, None] - values[None]).mean() / (2 * values.mean())
    assert gini(values) == pytest.approx(slow)
