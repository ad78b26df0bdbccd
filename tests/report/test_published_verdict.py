"""The verdict that is released is the one that was made from all figures, whatever of them may be released."""

import json

import numpy as np
import pytest
from audits import between, changed, every_attack
from hypothesis import given, settings
from hypothesis import strategies as st

from pd.audit.figures import WITHHELD
from pd.audit.results import AuditResult
from pd.dataset.shared import shared_labels
from pd.report.public import public_audit
from pd.report.verdict import verdict

LABELS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100)
FIGURES = st.builds(
    lambda value, width: between(value, value - width, value + width),
    st.floats(-0.3, 1),
    st.sampled_from([0.0, 0.01, 0.1, 1.2]),
)


def guessed(label, advantage):
    """The audit of an attack that tells one label of members."""
    by_label = {label: {"members": between(0.7, 0.6, 0.8), "holdout": between(0.5, 0.4, 0.6), "advantage": advantage}}
    return {"worst": label, "by_label": by_label}


@st.composite
def audits(draw):
    """Figures of any size under any names, some of them missing, of labels of which some may be named."""
    label, attacker = draw(LABELS), draw(LABELS)
    arms = {}
    for arm in draw(st.sets(st.sampled_from(["teacher", "kept", "filtered"]))):
        excess = draw(FIGURES)
        figures = {
            "reid": {"attacker": attacker, "excess": excess, "by_attacker": {attacker: {"excess": excess}}},
            "extraction": {"excess": draw(FIGURES), "copies": {"excess": draw(FIGURES)}},
            "attributes": guessed(label, draw(FIGURES)) | {"hidden_half": {"advantage": draw(FIGURES)}},
            "membership": {"loss": {"auc": draw(FIGURES)}},
        }
        arms[arm] = {name: figures[name] for name in draw(st.sets(st.sampled_from(sorted(figures))))}
    named = draw(st.sampled_from([[], [label]]))
    return AuditResult.model_validate({"arms": arms, "shared": {"k": 3, "labels": named}}), label


def states(found):
    return (
        found.state,
        found.title,
        [(one.attack, one.state, [(told.who, told.state) for told in one.told]) for one in found.findings],
    )


@settings(max_examples=150, deadline=None)
@given(audits())
def test_verdicts_never_differ_between_the_private_and_the_public_side(drawn):
    audit, label = drawn
    public = AuditResult.model_validate_json(json.dumps(public_audit(audit).as_json()))
    assert states(verdict(public)) == states(verdict(audit))
    assert public_audit(public) == public
    if not audit.shared.labels and not label.isalnum():  # a word may be one of pd's own
        assert f"“{label}”" not in json.dumps(public.as_json(), ensure_ascii=False)


@pytest.mark.parametrize("shared", [["diagnosis=flu"], []])
def test_a_leak_by_a_label_whose_name_has_a_sign_is_a_leak_on_both_sides(report_data, shared):
    guess = guessed("diagnosis=flu", between(0.3, 0.2, 0.4))
    audit = changed(every_attack(report_data.audit), "arms", "kept", "attributes", to=guess)
    audit = changed(audit, "shared", "labels", to=shared)
    public = public_audit(audit)
    (finding,) = (one for one in verdict(public).findings if one.attack == "Attribute disclosure")
    assert finding.state == "leak"
    assert "attribute disclosure" in verdict(public).title
    named = "diagnosis=flu" in json.dumps(public.as_json())
    assert named == bool(shared)
    if not shared:
        assert [one.answer for one in finding.told if one.who == "data"] == [WITHHELD]
        assert public.arms["kept"].attributes.worst == WITHHELD


def test_a_label_is_carried_by_people_not_by_pictures():
    people = ["ann", "ann", "ann", "bob", "cy", "dee"]
    labels = {
        "common": np.array([1, 0, 0, 1, 1, np.nan]),
        "of one": np.array([1, 1, 1, 0, 0, 0]),
        "uncertain": np.array([-1, 0, 0, 0.5, 2, 0]),
        "nobody's": np.zeros(6),
        "unknown": np.full(6, np.nan),
    }
    assert shared_labels(labels, people, 3) == ["common", "uncertain"]
