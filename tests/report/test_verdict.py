"""The verdict says no more than the figures do."""

import pytest
from audits import between, every_attack

from pd.report.verdict import verdict


def audited(student, **more):
    return {
        "arms": {"filtered": {"reid": {"excess": student}, **more}, "teacher": {"reid": {"excess": between(0.6, 0.5, 0.7)}}}
    }


@pytest.mark.parametrize(
    ("audit", "state", "said"),
    [
        ({}, "unknown", "was not attacked"),
        (audited({"value": 0.0}), "unknown", "was not attacked"),  # without an interval nothing is shown
        (audited(between(0.05, 0.01, 0.09)), "leak", "gives people away: by re-identification"),
        (audited(between(0.05, 0.0002, 0.23)), "borderline", "may give people away, by re-identification: only just more"),
        (
            audited(between(0.05, 0.0002, 0.23), extraction={"excess": between(0.1, 0.05, 0.2)}),
            "leak",
            "by extraction, and perhaps by re-identification",
        ),
        (audited(between(0.05, -0.01, 0.23)), "clear", "by the one attack that was made; re-identification in up to 23 in 100"),
        (
            audited(between(0.0, -0.1, 0.1), membership={"loss": {"auc": between(0.6, 0.52, 0.7)}}),
            "leak",
            "by membership inference",
        ),
        (audited(between(0.0, -0.1, 0.1), membership={"loss": {"auc": between(0.5, 0.4, 0.6)}}), "clear", "2 kinds of attack"),
    ],
)
def test_the_title_follows_the_intervals(audit, state, said):
    found = verdict(audit)
    assert found.state == state
    assert said in found.title


def test_an_interval_that_seems_to_begin_at_chance_says_on_which_side():
    found = verdict(audited(between(0.05, 0.0002, 0.23)))
    assert found.findings[0].sure == "95 % interval just above 0 to 23"
    assert "and just more than none at least." in dict(found.lines)["How sure?"]


def test_a_blind_audit_is_no_good_news():
    audit = audited(between(0.0, -0.4, 0.4))
    audit["arms"]["filtered"]["reid"]["power"] = {"blind": True, "words": "it could have seen no leak"}
    found = verdict(audit)
    assert found.state == "unknown"
    assert "could not have seen one" in found.title
    assert dict(found.lines)["Could the audit have seen it?"].startswith("It could have seen no leak.")


def test_every_attack_is_told_and_the_worse_membership_attack_counts(report_data):
    found = verdict(every_attack(report_data.audit))
    told = {finding.attack: finding for finding in found.findings}
    attacks = ["Re-identification", "Extraction", "Membership inference", "Attribute disclosure", "Hidden half", "Fingerprints"]
    assert list(told) == attacks
    assert told["Membership inference"].answer == "AUC 0.510 (guessing: 0.5)"
    assert told["Fingerprints"].state == "trace"
    assert "from 32 copies on" in told["Fingerprints"].answer
    assert "fingerprints" not in found.title


def test_why_an_attack_was_not_made_is_said():
    told = {finding.attack: finding for finding in verdict(audited(between(0, -1, 1), extraction={"why": "too slow"})).findings}
    assert (told["Extraction"].answer, told["Extraction"].sure) == ("not measured", "too slow")


def test_an_interval_that_holds_everything_shows_nothing():
    audit = audited(
        between(0.0, -0.1, 0.1), attributes={"worst": "beard", "by_label": {"beard": {"advantage": between(0.3, -0.9, 1)}}}
    )
    found = verdict(audit)
    told = {finding.attack: finding for finding in found.findings}["Attribute disclosure"]
    assert (told.state, found.state) == ("unknown", "clear")
    assert "too wide to tell" in told.sure
    assert "by the one attack that was made" in found.title
    assert "its interval is too wide to tell" in verdict(audited(between(0.1, -0.4, 0.7))).title


def test_copies_that_nobody_repeats_are_extracted_too():
    figures = {"excess": between(0.0, -0.1, 0.1), "copies": {"excess": between(0.3, 0.2, 0.4)}}
    found = verdict(audited(between(0.0, -0.1, 0.1), extraction=figures))
    assert "gives people away: by extraction" in found.title


def test_weak_instruments_are_called_weak():
    audit = audited(between(0.0, -0.1, 0.1)) | {"real": {"member": {"excess": between(0.2, 0.1, 0.3)}}}
    assert "a leak may have gone unseen" in dict(verdict(audit).lines)["Could the audit have seen it?"]
