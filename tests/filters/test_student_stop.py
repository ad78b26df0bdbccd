import numpy as np
import pytest
from scipy.stats import binomtest

from pd.config import CalibrationSettings, FilterSettings, ReidSettings
from pd.filters.calibration import find_thresholds, measure
from pd.filters.families import learn_spaces
from pd.filters.gallery import build_gallery
from pd.filters.scorer import Scorer
from pd.filters.student_stop import Look, choose, look, strangers_dropped, would_drop
from pd.reid.network import build, save_all


def test_the_interval_is_wilsons():
    dropped = np.arange(512) < 61
    found, known = look(200, dropped), binomtest(61, 512).proportion_ci(method="wilson")
    assert (found.step, found.dropped) == (200, 61 / 512)
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-6)


def test_the_last_checkpoint_before_the_first_above_strangers_is_taken():
    looks = [Look(step, low + 0.02, low, low + 0.04) for step, low in ((200, 0.02), (400, 0.09), (600, 0.12), (800, 0.05))]
    assert choose(looks, 0.10) == 1  # what came later, even if lower, was not looked at
    assert choose(looks, 0.20) == 3
    assert choose(looks, 0.01) == 0  # there is none before the first
    assert choose(looks[:1], 0.5) == 0


def test_copies_of_members_would_be_dropped_and_strangers_as_calibrated(faces, tmp_path):
    network = build(ReidSettings(dim=32), seed=3).eval()
    save_all([network], tmp_path)
    build_gallery([network], faces.members(), tmp_path, learn_spaces(["whitened"], faces, seed=7))
    measured = measure(tmp_path, faces, seed=7)
    settings = FilterSettings(families=("whitened",), near_copy_quantile=0.9)
    thresholds = find_thresholds(measured, CalibrationSettings(quantile=0.8), settings)
    scorer = Scorer(tmp_path, tmp_path)
    assert would_drop(scorer.score(faces.members().images[::9]), settings, thresholds).all()
    share = strangers_dropped(measured, settings, thresholds)
    # At least what the strictest of three alone drops, and at most what all drop together.
    assert 1 - 0.8 * 11 / 10 - 1e-6 <= share <= (0.12 + 0.1 + 0.1) * 1.2
    off = FilterSettings(families=(), reid=False, near_copy=False)
    assert strangers_dropped(measured, off, find_thresholds(measured, CalibrationSettings(), off)) == 0
