"""The verdict says no more than the figures do."""

import pytest
from audits import between, changed, every_attack

from pd.audit.results import AuditResult
from pd.report.verdict import verdict

SAFE = {"reid": {"excess": between(0.0, -0.1, 0.1)}}

NONE_SEEN = {"auc": between(0.5, 0.4, 0.6)}


def audited(student, data=SAFE, **more):
    teacher = {"reid": {"excess": between(0.6, 0.5, 0.7)}}
    released = {"filtered": {"reid": {"excess": student}, **more}} | ({"kept": data} if data else {})
    return AuditResult.model_validate({"arms": {"teacher": teacher, **released}})


def told(audit, attack, who="student"):
    (finding,) = (finding for finding in verdict(audit).findings if finding.attack == attack)
    return next(one for one in finding.told if one.who == who)


@pytest.mark.parametrize(
    ("audit", "state", "said"),
    [
        (AuditResult(), "unknown", "The released student was not audited; the released data were not audited."),
        (audited(None), "unknown", "was not attacked"),
        (audited(between(0.05, 0.01, 0.09)), "leak", "gives people away: by re-identification"),
        (audited(between(0.05, 0.0002, 0.23)), "borderline", "may give people away, by re-identification: only just more"),
        (
            audited(between(0.05, 0.0002, 0.23), extraction={"excess": between(0.1, 0.05, 0.2)}),
            "leak",
            "by extraction, and perhaps by re-identification",
        ),
        (
            audited(between(0.05, -0.01, 0.23)),
            "clear",
            "in the released data by the one attack that could tell; re-identification in up to 23 in 100",
        ),
        (
            audited(between(0.0, -0.1, 0.1), membership={"loss": {"auc": between(0.6, 0.52, 0.7)}}),
            "leak",
            "by membership inference",
        ),
        (
            audited(between(0.0, -0.1, 0.1), membership={"loss": NONE_SEEN, "likelihood_ratio": NONE_SEEN}),
            "clear",
            "2 kinds of attack, nor in",
        ),
    ],
)
def test_the_title_follows_the_intervals(audit, state, said):
    found = verdict(audit)
    assert found.state == state
    assert said in found.title


@pytest.mark.parametrize(
    ("data", "state", "said"),
    [
        (None, "unknown", "The released data were not audited; no leak is shown in the released student by the one attack"),
        (
            {"reid": {"excess": between(0.1, 0.05, 0.2)}},
            "leak",
            "The released data still give people away: by re-identification; no leak is shown in the released student by the",
        ),
        ({"reid": {"excess": between(0.1, 0.0001, 0.2)}}, "borderline", "The released data may give people away, by re-"),
        ({"reid": {}}, "unknown", "not known what the released data give away: they were not attacked"),
        (
            {"reid": {"excess": between(0.0, -0.1, 0.1), "power": {"blind": True}}},
            "unknown",
            "in the released data, but so small",
        ),
        (
            {**SAFE, "membership": {"why": "these are images"}},
            "clear",
            "nor in the released data by the one attack that could tell",
        ),
    ],
)
def test_the_verdict_is_of_the_worse_of_model_and_data(data, state, said):
    found = verdict(audited(between(0.0, -0.1, 0.1), data))
    assert found.state == state
    assert said in found.title


def test_both_that_leak_are_named():
    found = verdict(audited(between(0.1, 0.05, 0.2), {**SAFE, "extraction": {"copies": {"excess": between(0.2, 0.02, 0.3)}}}))
    assert "The released student still gives people away: by re-identification; the released data still give" in found.title
    assert "people away: by extraction." in found.title
    assert told(audited(between(0, -1, 1)), "Membership inference", "data").state is None


def test_an_interval_that_seems_to_begin_at_chance_says_on_which_side():
    found = verdict(audited(between(0.05, 0.0002, 0.23)))
    assert found.findings[0].told[0].sure == "95 % interval just above 0 to 23"
    assert "and just more than none at least." in dict(found.lines)["How sure?"]


def test_a_blind_audit_is_no_good_news():
    audit = audited(between(0.0, -0.4, 0.4))
    power = {"blind": True, "words": "it could have seen no leak"}
    audit = changed(audit, "arms", "filtered", "reid", "power", to=power)
    found = verdict(audit)
    assert found.state == "unknown"
    assert "could not have seen one" in found.title
    assert dict(found.lines)["Could the audit have seen it?"].startswith("It could have seen no leak.")


def test_every_attack_is_told_and_the_worse_membership_attack_counts(report_data):
    found = verdict(every_attack(report_data.audit))
    attacks = [
        "Re-identification",
        "Extraction",
        "Membership inference",
        "Attribute disclosure",
        "Completing half-hidden pictures",
        "Fingerprints",
    ]
    assert [finding.attack for finding in found.findings] == attacks
    assert [len(finding.told) for finding in found.findings] == [2, 2, 2, 2, 2, 1]
    audit = every_attack(report_data.audit)
    assert told(audit, "Membership inference").answer == "AUC 0.510 (guessing: 0.5)"
    assert told(audit, "Fingerprints").state == "trace"
    assert "from 32 copies on" in told(audit, "Fingerprints").answer
    assert "fingerprints" not in found.title


def test_why_an_attack_was_not_made_is_said():
    one = told(audited(between(0, -1, 1), extraction={"why": "too slow"}), "Extraction")
    assert (one.answer, one.sure) == ("not measured", "too slow")


def test_an_interval_that_holds_everything_shows_nothing():
    audit = audited(
        between(0.0, -0.1, 0.1), attributes={"worst": "beard", "by_label": {"beard": {"advantage": between(0.3, -0.9, 1)}}}
    )
    found = verdict(audit)
    one = told(audit, "Attribute disclosure")
    assert (one.state, found.state) == ("unknown", "clear")
    assert "too wide to tell" in one.sure
    assert "by the one attack that could tell" in found.title
    assert "the interval is too wide to tell" in verdict(audited(between(0.1, -0.4, 0.7))).title


def test_copies_that_nobody_repeats_are_extracted_too():
    figures = {"excess": between(0.0, -0.1, 0.1), "copies": {"excess": between(0.3, 0.2, 0.4)}}
    found = verdict(audited(between(0.0, -0.1, 0.1), extraction=figures))
    assert "gives people away: by extraction" in found.title


def test_weak_instruments_are_called_weak():
    audit = changed(audited(between(0.0, -0.1, 0.1)), "real", to={"member": {"excess": between(0.2, 0.1, 0.3)}})
    assert "a leak may have gone unseen" in dict(verdict(audit).lines)["Could the audit have seen it?"]


def test_the_loss_alone_does_not_clear_a_student_of_membership():
    audit = audited(between(0.0, -0.1, 0.1), membership={"loss": NONE_SEEN})
    one = told(audit, "Membership inference")
    assert one.state == "unknown"
    assert "audit.shadows" in one.sure
    found = verdict(audit)
    assert "in the released student by the one attack that could tell" in found.title
    assert "of the loss alone" in dict(found.lines)["Could the audit have seen it?"]
    both = audited(between(0.0, -0.1, 0.1), membership={"loss": NONE_SEEN, "likelihood_ratio": NONE_SEEN})
    assert told(both, "Membership inference").state == "clear"
    assert "of the loss alone" not in dict(verdict(both).lines)["Could the audit have seen it?"]


def test_pictures_that_are_unlike_people_are_not_called_a_wide_interval():
    unlike = {"excess": between(0.0, -0.01, 0.01), "says_nothing": "The samples are less like real people than strangers are."}
    audit = AuditResult.model_validate({"arms": {"filtered": {"reid": unlike}, "kept": SAFE}})
    title = verdict(audit).title
    assert "the pictures are less like real people than strangers are" in title
    assert "too wide" not in title
