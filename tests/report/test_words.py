"""Figures in words: true to the figures, whatever is missing."""

import pytest

from pd.audit.results import AuditResult, Distance, RealReidentified
from pd.report.formatting import decimal, duration, fidelity_label, flat, headline, in_hundred, percent


def arm(value, low, high):
    return {"reid": {"excess": {"value": value, "low": low, "high": high, "n": 100}}}


@pytest.mark.parametrize(
    ("arms", "said", "not_said"),
    [
        (
            {"teacher": arm(0.64, 0.62, 0.67), "filtered": arm(0.03, 0.01, 0.05)},
            "3 in 100 do (95 % interval 1",
            "could",
        ),
        (
            {"teacher": arm(0.64, 0.62, 0.67), "filtered": arm(0.03, 0.01, 0.05), "kept": arm(0.08, 0.05, 0.11)},
            "5); of the released data, 8 in 100 do (95 % interval 5 to 11).",
            "not audited",
        ),
        ({"filtered": arm(0.03, 0.01, 0.05)}, "the released data were not audited", "in 100 do"),
        (
            {"teacher": arm(0.64, 0.62, 0.67), "filtered": arm(0.01, -0.01, 0.03)},
            "chance alone could explain",
            "no more",
        ),
        ({"teacher": arm(0.64, 0.62, 0.67), "filtered": arm(-0.01, -0.03, 0.01)}, "no more often than chance", "-3"),
        ({"teacher": arm(0.64, 0.62, 0.67)}, "the released student was not audited", "3 in"),
        ({"filtered": arm(0.034, 0.01, 0.05)}, "3.4 in 100 samples of the released student", "64"),
        ({"teacher": {}}, "Nothing can be said", "in 100"),
        ({"filtered": arm(0.2, 0.1, 0.3)}, "the teacher was not audited", "nan"),
    ],
)
def test_headline(arms, said, not_said):
    sentence = headline(AuditResult.model_validate({"arms": arms}))
    assert said in sentence
    assert not_said not in sentence
    assert sentence.count(".") - sentence.count("3.4") == 1
    assert sentence.endswith(".")


def test_numbers():
    assert percent(0.6432) == "64.3 %"
    assert percent(-0.0001) == "0.0 %"
    assert percent(-0.012) == "−1.2 %"
    assert decimal(0.87214) == "0.872"
    assert decimal(31.234) == "31.23"
    assert in_hundred(0.034) == "3.4"
    assert in_hundred(0.64) == "64"
    assert in_hundred(-0.01) == "−1"
    assert [duration(s) for s in (0.84, 74, 3700)] == ["0.8 s", "1 min 14 s", "1 h 1 min"]


def test_distances_name_their_features():
    distance = Distance(value=1, low=0, high=2, n=9, features="EfficientNet-Lite0")
    assert fidelity_label("fid", distance) == "Fréchet distance, EfficientNet-Lite0 features"
    assert fidelity_label("kid", distance.model_copy(update={"features": "Inception features"})) == "KID, Inception features"


def test_flat_names_nested_figures():
    figure = {"value": 0.97, "low": 0.9, "high": 1.0, "n": 200}
    tree = {"real": {"round_trip": RealReidentified.model_validate({"excess": figure, "n": 200, "main": None})}}
    assert flat(tree) == {"real · round trip · excess": "0.970 (0.900 to 1.000)", "real · round trip · n": "200"}
