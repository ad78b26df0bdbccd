import dataclasses

import numpy as np
import pytest
from refusals import refused_as

from pd.config import CalibrationSettings, FilterSettings, ReidSettings
from pd.filters.calibration import find_thresholds, measure, read_measurements, unkept, write_measurements
from pd.filters.families import learn_spaces
from pd.filters.gallery import build_gallery
from pd.reid.network import build, save_all


@pytest.fixture(scope="module")
def measured(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reid")
    networks = [build(ReidSettings(dim=32), seed=seed).eval() for seed in (3, 4, 5)]
    save_all(networks, folder)
    build_gallery(networks, faces.members(), folder, learn_spaces(["whitened"], faces, seed=7))
    return measure(folder, faces, seed=7)


def test_strangers_are_the_calibration_half(measured):
    assert measured.score.shape == (100,)
    assert measured.verification.identities == 10
    assert measured.pair_same.sum() == 10 * 45


def test_members_stand_in_where_strangers_are_few_for_the_near_copy_detector(measured, faces):
    members = faces.members()
    assert measured.near_copy.shape == (100 + len(members),)
    among_members = measured.near_copy[100:]
    # Each image lies in the gallery of its own person, who is left out: nobody is like himself.
    assert among_members.max() < 0.99
    assert abs(np.median(among_members) - np.median(measured.near_copy[:100])) < 0.05


@pytest.mark.parametrize("quantile", [0.5, 0.8, 0.95])
def test_each_detector_drops_its_share_of_strangers(measured, quantile):
    calibration = CalibrationSettings(quantile=0.8)
    thresholds = find_thresholds(measured, calibration, FilterSettings(families=("whitened",), near_copy_quantile=quantile))
    # Ten and thirty people, ten pictures each, and one unseen person that could score anything.
    assert (measured.near_copy >= thresholds.near_copy).mean() == pytest.approx(1 - quantile * 31 / 30, abs=0.005)
    assert (measured.score >= thresholds.reid).mean() == pytest.approx(1 - 0.8 * 11 / 10)
    assert (measured.families["whitened"] >= thresholds.families["whitened"]).mean() == pytest.approx(
        1 - 0.9 * 31 / 30, abs=0.005
    )
    assert len(thresholds.further) == 2
    for score, threshold in zip(measured.further_score, thresholds.further, strict=True):
        assert not np.array_equal(score, measured.score)
        assert (score >= threshold).mean() == pytest.approx(1 - 0.8 * 11 / 10)


def test_what_few_people_cannot_promise_is_said(measured):
    said = unkept(measured, CalibrationSettings(quantile=0.95), FilterSettings(families=("whitened",), near_copy_quantile=0.95))
    assert len(said) == 1  # ten people promise 0.909, thirty 0.968
    assert said[0].startswith("reid.calibration.quantile = 0.95: 10 people can promise no more than 0.909")
    assert len(unkept(measured, CalibrationSettings(), FilterSettings(near_copy_quantile=0.99))) == 2
    assert not unkept(
        measured, CalibrationSettings(quantile=0.9), FilterSettings(families=("whitened",), near_copy_quantile=1.0)
    )
    assert not unkept(
        measured, CalibrationSettings(method="fixed"), FilterSettings(families=("whitened",), near_copy_quantile=0.9)
    )


def test_measurements_survive_the_disk(measured, tmp_path):
    write_measurements(measured, tmp_path)
    again = read_measurements(tmp_path)
    assert again.verification == measured.verification
    assert again.families.keys() == measured.families.keys() == {"whitened"}
    np.testing.assert_array_equal(again.families["whitened"], measured.families["whitened"])
    for field in dataclasses.fields(measured)[1:-2]:
        np.testing.assert_array_equal(getattr(again, field.name), getattr(measured, field.name))


def test_pairs_that_are_counted_survive_the_disk(measured, tmp_path):
    counted = dataclasses.replace(measured, pair_count=np.arange(3 * len(measured.pair_same)).reshape(3, -1))
    write_measurements(counted, tmp_path)
    np.testing.assert_array_equal(read_measurements(tmp_path).pair_count, counted.pair_count)
    assert measured.pair_count is None
    assert len(find_thresholds(counted, CalibrationSettings(method="probability"), FilterSettings(families=())).further) == 2


def test_a_space_that_was_not_measured_cannot_vote(measured):
    with refused_as("not-done", "'imagenet'"):
        find_thresholds(measured, CalibrationSettings(), FilterSettings())


def test_missing_measurements_are_named(tmp_path):
    with refused_as("unreadable-file"):
        read_measurements(tmp_path)
