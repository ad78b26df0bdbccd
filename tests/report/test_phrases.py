"""The private report's section on free-text reports."""

from dataclasses import replace

from pd.config import parse_settings
from pd.filters.report_phrases import report_prompts
from pd.report.html import render_report


def test_what_was_kept_and_lost_of_reports_is_shown(report_data, tmp_path):
    settings = parse_settings({"data": {"caption": "report", "subject": "an x-ray"}, "generate": {"prompt_k": 3}})
    reports = ["Edema. <b>rare</b> thing", "edema, seen by Dr. Miller", "edema", "none. old scar"]
    said = report_prompts(reports, list("abcd"), 3, "an x-ray")
    page = render_report(replace(report_data, settings=settings, said=said), tmp_path / "report.html").read_text()
    section = page.partition('<section id="phrases"')[2].partition("</section>")[0]
    assert "1 are said of at least 3 members" in section
    assert "2 that fewer share are left out, and 2 with" in section
    assert "Of 4 images 1 have a prompt that says nothing" in section
    assert '<th scope="row">edema</th><td class="number">3</td>' in section
    assert "&lt;b&gt;rare" in section
    assert "Miller" not in page
    assert 'href="#phrases"' in page


def test_without_reports_there_is_no_such_section(report_data, tmp_path):
    assert "#phrases" not in render_report(report_data, tmp_path / "report.html").read_text()
