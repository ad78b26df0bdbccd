"""The report as text: what is said, what is escaped, what is missing."""

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from audits import changed

from pd.audit.results import AuditResult, FilterResult
from pd.config import Settings
from pd.report.data import Candidates
from pd.report.html import render_release_report, render_report

NASTY = "<script>alert('x')</script>\"&"


class Page(HTMLParser):
    """Tags with attributes, in order."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def render(data, tmp_path):
    return render_report(data, tmp_path / "report.html").read_text(encoding="utf-8")


def test_says_what_was_found(report_data, tmp_path):
    text = render(report_data, tmp_path)
    assert "This file holds private images of real people" in text
    assert "64 in 100 samples of the teacher re-identify a person (95 % interval 62 to 67)" in text
    assert "of the released student&#39;s, 3 in 100 do (95 % interval 1 to 5); of the released data, 6 in 100 do" in text
    distance = "Fréchet distance, EfficientNet-Lite0 features"
    for words in ("400 images of 40 people", "600 candidates", distance, "sampler_steps: 15"):
        assert words in text
    assert f"threshold {report_data.threshold:.3f}" in text
    assert "Not part of this audit: early-stopped teacher, unfiltered student." in text


def test_fetches_nothing_and_runs_nothing(report_data, tmp_path):
    text = render(report_data, tmp_path)
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "form"} & {tag for tag, _ in page.tags}
    links = [attrs[key] for _, attrs in page.tags for key in ("src", "href", "srcset") if key in attrs]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "url(" not in text
    assert "@import" not in text
    assert len(text) < 2_000_000


def test_every_image_has_words_for_those_who_cannot_see_it(report_data, tmp_path):
    images = [attrs for tag, attrs in Page(render(report_data, tmp_path)).tags if tag == "img"]
    assert len(images) == 3 + 2 * 16 + 10
    assert all(len(attrs["alt"]) > 10 for attrs in images)


def test_dangers_are_the_most_alike(report_data, tmp_path):
    text = render(report_data, tmp_path)
    table = report_data.candidates
    for kept in (True, False):
        mine = np.where(table.keep == kept, table.scores, -np.inf)
        best = int(np.argmax(mine))
        assert f"{table.ids[best]} → {table.nearest[best]}" in text


def test_what_was_kept_is_shown_by_what_the_filter_did_not_decide_by(whole_data, tmp_path):
    text = render(whole_data, tmp_path)
    table, closest = whole_data.candidates, whole_data.audit.arms["kept"].closest
    for name, image, likeness in (*closest.by_attacker, *closest.by_pixels):
        assert re.search(rf'<span class="score">{likeness:.4f}</span> .*kept</span>\n.*{name} → {image}<', text)
    kept = int(np.argmax(np.where(table.keep, table.scores, -np.inf)))
    assert f"{table.ids[kept]} → " not in text  # the filter's own favourite: no attacker named it
    assert "Those most like a member to whitened, the attacker that finds most, of the 250 kept candidates" in text
    assert "pass for them to whitened" in text
    dropped = int(np.argmax(np.where(table.keep, -np.inf, table.scores)))
    assert f"{table.ids[dropped]} → {table.nearest[dropped]}" in text


def test_usefulness_by_subgroups_is_told_at_home_alone(whole_data, tmp_path):
    text = render(whole_data, tmp_path)
    table = text[text.index('<table id="subgroups"') :].split("</table>")[0]
    assert re.findall(r"<th scope=.row.>(.*?)</th>", table) == ["glasses = 0", "glasses = 1"]
    figure = whole_data.audit.arms["filtered"].utility.subgroups["glasses"]["0"]
    assert f"{figure.value:.3f}<" in table
    assert f"{figure.low:.3f} to {figure.high:.3f}" in table
    page = render_release_report("faces", whole_data.audit, whole_data.settings, tmp_path / "release.html").read_text()
    assert 'id="subgroups"' not in page
    assert 'id="subgroups"' not in render(dataclasses.replace(whole_data, audit=AuditResult()), tmp_path)


def test_one_network_has_no_consistency_and_the_way_to_it_is_told(report_data, tmp_path):
    why = {"consistency": {"why": "one network only; reid.networks=3 trains three"}}
    text = render(dataclasses.replace(report_data, audit=changed(report_data.audit, "filter", to=why)), tmp_path)
    assert "Consistency was not measured: one network only; reid.networks=3 trains three" in text


def test_without_an_attack_on_the_data_it_is_said_that_the_filter_ranks_itself(report_data, tmp_path):
    assert "shows nothing of what it is blind to" in render(report_data, tmp_path)


def test_data_are_escaped(report_data, tmp_path):
    table = dataclasses.replace(
        report_data.candidates,
        ids=[f"{NASTY}{name}" for name in report_data.candidates.ids],
        reasons=[reason and NASTY for reason in report_data.candidates.reasons],
    )
    arms = {**report_data.audit.arms, NASTY: report_data.audit.arms["teacher"]}
    data = dataclasses.replace(
        report_data,
        run=NASTY,
        candidates=table,
        audit=AuditResult(arms=arms, filter=FilterResult(dropped={NASTY: 3}, candidates=9)),
        settings=Settings(data={"subject": NASTY}),
        versions={NASTY: NASTY},
        lineage={NASTY: NASTY},
    )
    text = render(data, tmp_path)
    assert "alert" in text
    assert "<script" not in text
    assert "script" not in {tag for tag, _ in Page(text).tags}


def test_a_run_without_audit_says_so(report_data, tmp_path):
    text = render(dataclasses.replace(report_data, audit=AuditResult()), tmp_path)
    assert "Nothing can be said about re-identification" in text
    assert "No model was audited" in text
    assert "Nothing was dropped" not in text  # the candidates tell, where the audit does not
    assert "near-copy of a member image" in text
    assert '<table id="audit-table"' not in text


def test_missing_parts_are_said_and_not_guessed(report_data, tmp_path):
    arms = report_data.audit.arms
    filtered = arms["filtered"].model_copy(update={"utility": None, "fidelity": None})
    data = dataclasses.replace(
        report_data,
        audit=AuditResult(arms={"teacher": arms["teacher"], "filtered": filtered}, filter=FilterResult()),
        samples={},
        real={},
        versions={},
        verification={},
        stage_seconds={},
    )
    text = render(data, tmp_path)
    assert "None of these are in the run." in text
    assert "not measured" in text
    assert "not at hand" in text
    assert "No versions were recorded." in text
    assert "What the released data give away is not known" in text
    assert "Without the random-drop student it is not shown" in text
    assert "nan" not in re.sub(r"data:image/png;base64,\S+", "", text).lower()


def test_no_candidate_and_no_score(report_data, tmp_path):
    none = np.zeros(0, np.float32)
    empty = Candidates([], none, [], np.zeros(0, bool), [])
    data = dataclasses.replace(report_data, candidates=empty, audit=AuditResult(), stranger_scores=none, member_scores=none)
    text = render(data, tmp_path)
    assert "No scores were recorded." in text
    assert "Nothing was dropped" in text


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="different lengths"):
        Candidates(["a"], np.zeros(2, np.float32), ["b"], np.ones(1, bool), [""])
