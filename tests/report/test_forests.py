"""Forest plots of the attacks."""

from audits import between, every_attack

from pd.audit.results import AuditResult
from pd.report import forests
from pd.report.costs import consistency


def test_each_attack_has_a_row_for_each_arm_that_was_attacked(report_data):
    audit = every_attack(report_data.audit)
    assert [row.label for row in forests.extraction(audit).rows][:3] == [
        "Teacher, repeated",
        "Teacher, strangers’",
        "Teacher, copies",
    ]
    found = forests.membership(audit)
    assert (found.reference, found.form, len(found.rows)) == (0.5, "decimal", 5)  # the released data are no model
    assert found.low < 0.5 < found.high
    assert len(forests.attributes(audit).rows) == 8


def test_cost_stands_beside_the_share_of_all():
    cost = {"by_label": {"beard": {"1": between(0.9, 0.8, 1.0)}}}
    audit = AuditResult.model_validate({"filter": {"candidates": 10, "kept": 4, "cost": cost}})
    found = forests.cost(audit)
    assert found.reference == 0.6
    assert [(row.label, row.words) for row in found.rows] == [("beard = 1", "90.0 % (80.0 to 100.0 %)")]


def test_nothing_measured_is_no_plot():
    for attack in (forests.reidentification, forests.extraction, forests.membership, forests.attributes, forests.cost):
        assert attack(AuditResult()) is None
        told = {"arms": {"filtered": {"membership": {"why": "no"}}}, "filter": {"cost": {"why": "no"}}}
        assert attack(AuditResult.model_validate(told)) is None


def test_agreement_of_filters_says_what_its_interval_is_over_and_how_pairs_differ(report_data):
    told = consistency(every_attack(report_data.audit))
    assert told[0][0] == "Cohen's kappa of keep and drop; interval over candidates"
    assert ("Cohen's kappa of single pairs of filters", "0.790 to 0.860", "") in told
