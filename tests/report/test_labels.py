"""The report's section on labels, and the card's line."""

from dataclasses import replace

from pd.report.html import render_report
from pd.report.labels import made_by

FOUND = {
    "method": "dawid_skene",
    "source": "votes",
    "names": ["glasses"],
    "images": 200,
    "labelled": 190,
    "changed": 1,
    "against": "the majority",
    "annotators": 300,
    "warnings": ["3 of 300 annotators gave one vote: their reliability is not known"],
    "people": [
        {"name": f"reader <{n}>", "votes": 12, "reliability": 0.25, "low": 0.1, "high": 0.4 + n / 100} for n in range(30)
    ],
    "gallery": [{"id": "real003", "label": "glasses", "before": 0.0, "after": 1.0, "probability": 0.98}],
}
NOISE = [
    {"label": "Edema", "how": "correlation", "given_absent": 0.02, "missed_present": 0.3},
    {"label": "Fracture", "how": "dual", "given_absent": 0.1, "missed_present": 0.2},
]


def test_annotators_and_changed_labels_are_shown(report_data, tmp_path):
    page = render_report(replace(report_data, labels=FOUND), tmp_path / "report.html").read_text()
    section = page.partition('<section id="labels"')[2].partition("</section>")[0]
    assert "190 of 200 images" in section
    assert "reader &lt;0&gt;" in section  # escaped, and the worst of them alone
    assert section.count('<th scope="row">') == 10
    assert "10.0% to 40.0%" in section
    assert 'alt="Real image real003' in section
    assert "0 → 1" in section
    assert "gave one vote" in section


def test_noise_says_which_labels_are_identifiable(report_data, tmp_path):
    found = {**FOUND, "method": "transition", "source": "columns", "people": [], "filled": 7, "transitions": NOISE}
    page = render_report(replace(report_data, labels=found), tmp_path / "report.html").read_text()
    section = page.partition('<section id="labels"')[2].partition("</section>")[0]
    assert "7 gaps were filled" in section
    assert section.count("no: by Dual-T") == 1


def test_without_the_stage_there_is_no_section(report_data, tmp_path):
    assert 'id="labels"' not in render_report(report_data, tmp_path / "report.html").read_text()
    assert made_by(None) == ""


def test_filled_gaps_show_what_was_measured_and_galleries(report_data, tmp_path):
    rate = {"value": 0.91, "low": 0.85, "high": 0.95, "n": 80}
    counts = {"labelled": 12, "filled": 150, "open": 38, "classes": 2, "tested": 80, "people": 10}
    found = {
        **FOUND,
        "method": "semi_vit",
        "source": "columns",
        "people": [],
        "filled": 150,
        "measured": {
            "glasses": {**counts, "precision": rate, "answered": rate, "accuracy": rate},
            "hat": {**counts, "tested": 0},
        },
        "unsure": [{"id": "real003", "label": "glasses", "after": 1.0, "probability": 0.51, "open": True}],
        "confused": [
            {"id": "real003", "label": "glasses", "before": 0.0, "after": 1.0, "probability": 0.9, "count": 7},
        ],
    }
    page = render_report(replace(report_data, labels=found), tmp_path / "report.html").read_text()
    section = page.partition('<section id="labels"')[2].partition("</section>")[0]
    assert "Semi-ViT" in section
    assert "91.0% (85.0% to 95.0%)" in section
    assert "80 of 10 people" in section
    assert "not measured" in section
    assert "1 (left open)" in section
    assert "0 → 1, 7 times" in section
    assert section.count('alt="Real image real003, whose label was guessed"') == 2
