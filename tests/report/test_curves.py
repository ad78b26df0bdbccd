"""Curves of the report."""

import json

import numpy as np
from audits import every_attack
from refusals import refused_as

from pd.audit.results import AuditResult, Curves, load
from pd.report.curves import curves_from_scores, dose_response, threshold_curves, tradeoff, view_curves
from pd.report.data import Candidates


def candidates(scores):
    scores = np.array(scores, np.float32)
    return Candidates([str(i) for i in range(len(scores))], scores, ["r"] * len(scores), scores < 0.5, [""] * len(scores))


def test_own_curves_count_what_a_threshold_would_do():
    found = curves_from_scores(candidates([0.1, 0.2, 0.6, 0.8]), np.array([0.1, 0.3]), np.array([0.9, np.nan]), steps=3)
    assert found.thresholds[-1] == 0.9
    for place, at in enumerate(found.thresholds):  # a candidate at the threshold is dropped
        assert found.kept[place] == np.mean(np.array([0.1, 0.2, 0.6, 0.8], np.float32) < at)
        assert found.specificity[place] == np.mean(np.array([0.1, 0.3]) < at)
        assert found.sensitivity["other_photo"][place] == 1.0
    assert curves_from_scores(candidates([]), np.array([0.1]), np.array([0.9])) is None


def test_curves_are_drawn_with_their_table(report_data):
    audit = every_attack(report_data.audit)
    found = threshold_curves(audit.filter.curves, 0.9)
    assert [line.kind for line in found.lines] == ["member", "jittered", "round-trip", "other-photo", "specificity", "share"]
    assert found.at == (0.9, "in use: 0.900")
    assert len(found.rows) == len(found.stops) == 50
    assert len(found.rows[0]) == len(found.columns)


def test_a_series_of_another_length_is_left_out_and_no_curve_is_none():
    found = threshold_curves(Curves(thresholds=[0.1, 0.2], specificity=[0.5, 1.0], kept=[0.5], sensitivity={"a": [1]}), None)
    assert [line.label for line in found.lines] == ["strangers let pass"]
    assert threshold_curves(None, 0.5) is None


def test_views_have_a_chart_of_their_own():
    found = Curves(
        thresholds=[0.1, 0.2], specificity=[0.5, 1.0], sensitivity={"member": [1, 1], "8x8": [1, 0.5], "masked": [1, 0]}
    )
    assert [line.label for line in threshold_curves(found, None).lines] == [
        "caught: members' own images",
        "strangers let pass",
    ]
    views = view_curves(found, 0.15)
    assert [line.label for line in views.lines] == ["caught: 8x8", "caught: masked", "strangers let pass"]
    assert len({line.kind for line in views.lines}) == 3
    assert "low resolution" in views.title
    assert view_curves(found.model_copy(update={"sensitivity": {"member": [1, 1]}}), 0.1) is None
    assert view_curves(None, 0.1) is None


def test_tradeoff_stands_where_each_arm_learned(report_data):
    found = tradeoff(report_data.audit)
    kept = report_data.audit.filter.kept / 600
    places = {mark.label: mark.x for mark in found.marks}
    assert places["Teacher"] == 1.0
    assert places["Released student"] == kept
    assert 0 < kept - places["Released data"] < kept - places["Random drop"] < 0.03  # beside it, so that all whiskers are seen
    assert {row[0]: row[1] for row in found.rows}["Random drop"] == {row[0]: row[1] for row in found.rows}["Released student"]
    assert tradeoff(AuditResult.model_validate({"arms": {"teacher": {}}})) is None


def test_doses_are_drawn_on_a_log_scale(report_data):
    found = dose_response(every_attack(report_data.audit))
    assert [text for _, text in found.x_ticks] == ["1", "2", "4", "8", "16", "32", "64"]
    assert found.lines[0].points[-1] == (6.0, 0.61)
    assert dose_response(AuditResult.model_validate({"fingerprints": {"why": "not asked for"}})) is None


def test_shares_that_do_not_match_the_doses_are_no_audit(tmp_path):
    file = tmp_path / "audit.json"
    whole = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    file.write_text(
        json.dumps({"arms": {}, "fingerprints": {"repetitions": [1, 2], "student": [whole], "teacher": [whole, whole]}})
    )
    with refused_as("no-audit"):
        load(file)
