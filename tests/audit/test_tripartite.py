import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, jaccard_score

from pd.audit.tripartite import at_point, consistency, curves


def test_curves_are_the_shares_at_each_threshold() -> None:
    rng = np.random.default_rng(0)
    member, strangers, made = (rng.normal(shift, size=n).astype(np.float32) for shift, n in ((2, 50), (0, 80), (1, 60)))
    found = curves({"member": member}, strangers, made)
    for at in (0, 17, 60, 100):
        threshold = found.thresholds[at]
        assert found.sensitivity["member"][at] == pytest.approx(np.mean(member >= threshold))
        assert found.specificity[at] == pytest.approx(np.mean(strangers < threshold))
        assert found.kept is not None
        assert found.kept[at] == pytest.approx(np.mean(made < threshold))
    assert (found.sensitivity["member"][0], found.specificity[0]) == (1, 0)
    assert (found.sensitivity["member"][-1], found.specificity[-1]) == (0, 1)
    assert (np.diff(found.specificity) >= 0).all()
    assert set(found.rounded().as_json()) == {"thresholds", "sensitivity", "specificity", "kept"}


def test_what_has_no_score_is_dropped_at_every_threshold() -> None:
    found = curves({"member": np.array([np.nan, 0.5], np.float32)}, np.array([0.0, 1.0], np.float32))
    assert found.sensitivity["member"][-1] == 0.5
    assert found.kept is None


def test_the_chosen_point_has_intervals_over_people() -> None:
    names = [str(i // 10) for i in range(100)]
    caught = np.ones(100, dtype=bool)
    flagged = np.arange(100) < 10  # all of one stranger
    found = at_point({"member": caught}, {"member": names}, flagged, names)
    assert found.sensitivity["member"].value == found.sensitivity["member"].high == 1
    assert found.sensitivity["member"].low == pytest.approx(10 / (10 + 1.96**2), abs=1e-3)  # Wilson's, of ten people
    assert found.specificity.value == 0.9
    assert found.specificity.low < 0.65


def test_agreement_is_sklearns_mean_over_pairs() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(300) < 0.4
    dropped = np.array([truth ^ (rng.random(300) < 0.1) for _ in range(3)])
    found = consistency(dropped, seed=0)
    assert found is not None
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert found.kappa.value == pytest.approx(np.mean([cohen_kappa_score(dropped[a], dropped[b]) for a, b in pairs]))
    assert found.jaccard.value == pytest.approx(np.mean([jaccard_score(dropped[a], dropped[b]) for a, b in pairs]))
    assert found.kappa.low < found.kappa.value < found.kappa.high
    of_pairs = [cohen_kappa_score(dropped[a], dropped[b]) for a, b in pairs]
    assert found.kappa_of_pairs == pytest.approx((min(of_pairs), max(of_pairs)))
    assert found.seeds == 3


def test_filters_that_have_nothing_to_do_with_each_other_do_not_agree() -> None:
    rng = np.random.default_rng(2)
    found = consistency(rng.random((2, 2000)) < 0.5, seed=0)
    assert found is not None
    assert found.kappa.low < 0 < found.kappa.high
    same = consistency(np.tile(rng.random(50) < 0.5, (2, 1)), seed=0)
    assert same is not None
    assert same.kappa.value == same.jaccard.value == 1
    assert consistency(np.ones((2, 9), dtype=bool), seed=0) is None
