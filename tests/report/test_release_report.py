"""The report that goes with a release: no picture, nobody's name, nothing that runs."""

from audits import changed
from releases import private_dataset

from pd.config import Settings
from pd.release.pages import page_fault
from pd.release.real_names import RealNames
from pd.report.html import render_release_report


def test_it_is_made_of_public_figures_alone(whole_data, tmp_path, faces, captions):
    out = render_release_report("faces", whole_data.audit, whole_data.settings, tmp_path / "report.html", "Written today.")
    text = out.read_text(encoding="utf-8")
    assert page_fault(text) is None
    assert RealNames(private_dataset(faces, captions).identities).in_text(text, page=True) == 0
    assert "data:image" not in text
    assert "of 9 people" not in text
    for words in ("Attack by attack", "Membership inference", "Fingerprints", "Gini coefficient of drop rates is 0.21"):
        assert words in text
    assert "private images of real people" not in text
    assert "path:" not in text


def test_an_audit_of_before_the_new_attacks_still_renders(report_data, tmp_path):
    text = render_release_report("old", report_data.audit, Settings(), tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'id="membership"' not in text
    assert "Not measured" in text


def test_why_something_was_not_measured_is_said(report_data, tmp_path):
    audit = changed(report_data.audit, "fingerprints", to={"why": "no marks <were> planted"})
    text = render_release_report("old", audit, Settings(), tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Not measured: no marks &lt;were&gt; planted" in text
