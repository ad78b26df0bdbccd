"""Runs side by side."""

from audits import between, every_attack

from pd.audit.results import ArmResult, AuditResult, FilterResult
from pd.release.pages import page_fault
from pd.report.compare import compare, write_comparison

NASTY = "<script>alert(1)</script>"


def test_a_row_for_each_arm_with_what_was_measured(report_data):
    rows = compare({"old": report_data.audit, "new": every_attack(report_data.audit)})
    assert [(row.run, row.arm) for row in rows] == [
        (run, arm) for run in ("old", "new") for arm in ("teacher", "filtered", "kept", "random_drop")
    ]
    old, new = rows[1].as_json(), rows[5].as_json()
    assert (old["membership"], old["coverage"]) == (None, None)
    assert old["excess"] == {"value": 0.03, "low": 0.01, "high": 0.05}
    assert new["membership"]["value"] == 0.51
    assert new["kept"]["value"] == report_data.audit.filter.kept / 600
    assert rows[0].as_json()["kept"] == {"value": 1.0}
    assert rows[6].as_json()["kept"] == new["kept"]
    assert rows[6].as_json()["membership"] is None
    kept = rows[6].as_json()
    attacks = every_attack(report_data.audit).arms["kept"]
    assert kept["copies"]["value"] == attacks.extraction.copies.excess.value
    assert kept["extracted"]["value"] == attacks.extraction.excess.value
    assert kept["attribute"]["value"] == attacks.attributes.by_label["glasses"].advantage.value
    assert (kept["detectable"], kept["blind"]) == ({"value": 0.021}, False)
    assert old["copies"] is None
    assert rows[5].cell("coverage") == ("98.5 %", "93.5 to 100.0 %")


def test_a_foreign_audit_has_no_kept_share(report_data):
    foreign = AuditResult(arms={"synthetic": report_data.audit.arms["teacher"]}, filter=FilterResult(candidates=4, kept=2))
    (row,) = compare({"a": foreign})
    assert "kept" not in row.figures


def test_an_audit_that_sees_nothing_says_so():
    reid = {"excess": between(0.0, 0.0, 0.1), "power": {"blind": True, "words": "could not"}}
    hidden = {"advantage": between(0.2, 0.1, 0.3)}
    (row,) = compare(
        {"a": AuditResult.model_validate({"arms": {"kept": {"reid": reid, "attributes": {"hidden_half": hidden}}}})}
    )
    assert row.cell("detectable") == ("none", "")
    assert row.as_json()["blind"] is True
    assert row.cell("hidden_half") == ("0.200", "0.100 to 0.300")


def test_the_page_escapes_names_and_fetches_nothing(report_data, tmp_path):
    text = write_comparison(
        compare({NASTY: report_data.audit, "b": AuditResult(arms={"odd": ArmResult()})}), tmp_path / "c.html"
    ).read_text()
    assert "<script" not in text
    assert page_fault(text) is None
    assert "not measured" in text
