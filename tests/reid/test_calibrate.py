import numpy as np
import pytest
from refusals import refused_as

from pd.config import CalibrationSettings
from pd.reid.calibrate import Calibration, calibrate, verification


@pytest.mark.parametrize("q", [0.0, 0.05, 0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("n", [1, 10, 200])
def test_stranger_quantile_drops_the_rest(q: float, n: int) -> None:
    scores = np.random.default_rng(0).uniform(-1, 1, n).astype(np.float32)
    found = calibrate(CalibrationSettings(quantile=q), scores)
    assert (scores >= found.threshold).sum() == n - int(np.ceil(round(q * n, 9)))
    assert found.strangers == n
    assert found.strangers_dropped == np.mean(scores >= found.threshold)


def test_strangers_that_tie_at_the_quantile_are_kept_together() -> None:
    found = calibrate(CalibrationSettings(quantile=0.8), [0.1] * 5 + [0.5] * 5)
    assert found.threshold > 0.5
    assert found.strangers_dropped == 0


def test_the_next_stranger_is_dropped_as_seldom_as_promised() -> None:
    # People differ more than their pictures, as in life; each round measures some people and meets another one.
    chance = np.random.default_rng(0)
    dropped: dict[str, list[float]] = {"plain": [], "by people": []}
    for _ in range(1500):
        scores = chance.normal(0, 1, (16, 1)) + 0.3 * chance.normal(0, 1, (16, 8))
        known, new = scores[:-1].ravel(), scores[-1]
        who = np.repeat(np.arange(15), 8)
        settings = CalibrationSettings(quantile=0.9)
        dropped["plain"].append(np.mean(new >= calibrate(settings, known).threshold))
        dropped["by people"].append(np.mean(new >= calibrate(settings, known, people=who).threshold))
    assert np.mean(dropped["by people"]) < 0.11 < 0.125 < np.mean(dropped["plain"])


def test_each_person_counts_as_one_however_many_pictures() -> None:
    scores, who = [0.1] * 98 + [0.5, 0.9], [0] * 98 + [1, 2]
    # One of three people may be beyond q = 1/2 of four, the unseen one included.
    assert 0.5 < calibrate(CalibrationSettings(quantile=0.5), scores, people=who).threshold < 0.51
    # More than three of four cannot be promised: just above all of them.
    assert 0.9 < calibrate(CalibrationSettings(quantile=0.99), scores, people=who).threshold < 0.91


def test_probability_is_where_the_logistic_curve_crosses_p() -> None:
    chance = np.random.default_rng(0)
    same = np.arange(4000) < 400
    cosines = np.where(same, chance.normal(0.7, 0.1, 4000), chance.normal(0.1, 0.1, 4000))
    half = calibrate(CalibrationSettings(method="probability", probability=0.5), [0.0, 0.9], cosines, same)
    sure = calibrate(CalibrationSettings(method="probability", probability=0.99), [0.0, 0.9], cosines, same)
    # Equal spread, both kinds weighted alike: the curve crosses one half midway.
    assert half.threshold == pytest.approx(0.4, abs=0.02)
    assert half.threshold < sure.threshold < 0.7
    assert half.slope is not None
    assert half.intercept is not None
    assert 1 / (1 + np.exp(-(half.slope * half.threshold + half.intercept))) == pytest.approx(0.5)
    assert half.strangers_dropped == 0.5
    assert half.pairs == 4000


@pytest.mark.parametrize(("p", "kept"), [(0.0, 0), (1.0, 2)])
def test_certain_probabilities_drop_all_or_nothing(p: float, kept: int) -> None:
    found = calibrate(CalibrationSettings(method="probability", probability=p), [-0.5, 0.9], [0.0, 1.0], [False, True])
    assert np.sum(np.array([-1.0, 1.0]) < found.threshold) == kept


def test_fixed_needs_no_strangers() -> None:
    found = calibrate(CalibrationSettings(method="fixed", threshold=0.25), [])
    assert (found.threshold, found.strangers, found.strangers_dropped) == (0.25, 0, None)


@pytest.mark.parametrize("method", ["stranger_quantile", "probability", "fixed"])
def test_json_brings_it_back(method: str) -> None:
    settings = CalibrationSettings.model_validate({"method": method})
    found = calibrate(settings, [0.1, 0.3], [0.1, 0.9, 0.2, 0.8], [False, True, False, True])
    assert Calibration.from_json(found.to_json()) == found


def test_what_cannot_be_calibrated_is_refused() -> None:
    probability = CalibrationSettings(method="probability")
    with refused_as("no-images", "reid.calibration"):
        calibrate(CalibrationSettings(), [])
    with refused_as("learned-nothing", "reid.calibration.method"):
        calibrate(probability, [0.1], [0.1, 0.2], [True, True])
    with refused_as("learned-nothing", "reid.calibration.method"):
        calibrate(probability, [0.1], [0.9, 0.1], [False, True])
    with pytest.raises(ValueError, match="finite"):
        calibrate(CalibrationSettings(), [0.1, np.nan])
    with pytest.raises(ValueError, match="2 cosines of pairs, 1 labels"):
        calibrate(probability, [0.1], [0.9, 0.1], [False])


def test_verification_counts_pairs_and_ranks() -> None:
    rows = np.array([[1, 0], [0.8, 0.6], [0, 1], [0.6, 0.8], [-1, 0]], np.float32)
    found = verification(rows, ["a", "a", "b", "b", "c"])
    assert (found.images, found.identities, found.same_pairs, found.other_pairs) == (5, 3, 2, 8)
    # a-a 0.8 and b-b 0.8 are beaten only by the pair 0.96 of two people.
    assert found.auc == pytest.approx(7 / 8)
    # The nearest of rows 1 and 3 is the other person; row 4 has no mate and does not count.
    assert found.rank1 == 0.5
    with pytest.raises(ValueError, match="5 embeddings, 4 identities"):
        verification(rows, ["a", "a", "b", "b"])


def test_verification_is_told_in_words_where_there_is_nothing_to_compare() -> None:
    found = verification(np.eye(3), ["a", "b", "c"])
    assert found.words() == "AUC not measured (no person has two images)"
    assert verification(np.eye(4)[[0, 0, 1, 1]], ["a", "a", "b", "b"]).words() == "AUC 1.000, rank-1 1.000"


def test_verification_says_nothing_where_there_is_nothing_to_compare() -> None:
    lone = verification(np.eye(3, dtype=np.float32), ["a", "b", "c"])
    assert (lone.auc, lone.rank1) == (None, None)
    one = verification(np.ones((2, 1), np.float32), ["a", "a"])
    assert (one.auc, one.rank1) == (None, 1.0)
    assert verification(np.zeros((0, 2), np.float32), []).images == 0
