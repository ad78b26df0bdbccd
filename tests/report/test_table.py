"""The audit as a table."""

from pd.audit.results import AuditResult
from pd.report.forests import reidentification
from pd.report.table import audit_table


def test_released_student_stands_next_to_the_teacher(report_data):
    table = audit_table(report_data.audit)
    assert table.columns == [
        "Teacher",
        "Filtered student (released)",
        "Kept candidates (released data)",
        "Random-drop student",
        "Real images",
    ]
    assert table.missing == ["Early-stopped teacher", "Unfiltered student"]
    rows = {row.label: row for group in table.groups for row in group.rows}
    assert [cell.text for cell in rows["Excess"].cells] == ["64.3 %", "3.0 %", "6.0 %", "32.2 %", ""]
    assert rows["Excess"].cells[1].interval == "1.0 to 5.0 %"
    assert rows["imagenet"].cells[0].interval == "−1.0 to 3.0 %"
    assert rows["Usefulness (AUC)"].cells[4].text == "0.910"
    assert rows["Fréchet distance, EfficientNet-Lite0 features"].cells[0].note == "n = 200"


def test_nothing_is_guessed():
    table = audit_table(AuditResult.model_validate({"arms": {"teacher": {"reid": None, "utility": {"auc": None}}}}))
    assert table.columns == ["Teacher"]
    assert table.groups == []
    assert audit_table(AuditResult()).columns == []
    assert reidentification(AuditResult.model_validate({"arms": {"teacher": {}}})) is None


def test_kid_says_that_its_ends_are_the_spread_of_subsets():
    kid = {"value": 0.01, "low": 0.0, "high": 0.02, "n": 2048, "subset": 200, "features": "some features"}
    kid["floor"] = {"value": 0.002, "low": 0.0, "high": 0.01, "n": 150}
    table = audit_table(AuditResult.model_validate({"arms": {"filtered": {"fidelity": {"kid": kid}}}}))
    (cell,) = next(row for group in table.groups for row in group.rows if row.label.startswith("Kernel distance")).cells
    assert cell.note == "n = 2,048; spread of subsets of 200; floor 0.002 (n = 150)"
