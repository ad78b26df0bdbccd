"""The worth of a release to a recipient with few labels."""

from dataclasses import replace

import numpy as np
import pytest

from pd.audit.few_labels import _known, few_labels
from pd.audit.figures import NotMeasured, public_part
from pd.audit.results import AuditResult, FewLabels
from pd.audit.subjects import Subjects
from pd.config import AuditSettings, SemiVitSettings, Settings, VitSettings
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset
from pd.progress import Reporter
from pd.report.curves import few_labels as chart
from pd.stages.few_labels import worth_of_few
from pd.training.loop import fit_here

SMALL = SemiVitSettings(network=VitSettings(patch=4, width=16, depth=1, heads=2), batch=8, ratio=3, flip=False)


def bright(truth, seed):
    chance = np.random.default_rng(seed)
    return np.clip(chance.normal(60 + 130 * truth[:, None, None, None], 20, (len(truth), 9, 9, 1)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def people():
    rows = 96
    truth = (np.arange(rows) // 2 + np.arange(rows)) % 2
    who = [f"p{row // 4}" for row in range(rows)]
    splits = ["member" if row < 32 else "holdout" for row in range(rows)]
    labels = {"glasses": truth.astype(float), "age": np.arange(rows, dtype=float)}
    real = PrivateDataset([str(row) for row in range(rows)], bright(truth, 1), who, splits, ["x"] * rows, labels)
    made = np.arange(24) % 2
    right = SyntheticDataset([str(row) for row in range(24)], bright(made, 2), [""] * 24, {"glasses": made.astype(float)})
    return real, right


def test_labels_that_are_the_wrong_way_round_do_harm_and_right_ones_help(people, tmp_path):
    real, right = people
    settings = AuditSettings(utility_steps=40, bootstrap=50, utility="semi_vit", few_labels=SMALL)
    subjects = Subjects(real, settings, 3)
    found = few_labels(subjects, "kept", right, SMALL, tmp_path, fit_here)
    assert isinstance(found, FewLabels)
    assert found.label == "glasses"
    assert found.sizes == [8, 16, 32]
    assert found.synthetic.value > 0.9
    assert found.curves["both"][0].value > 0.9
    assert all(one.low <= one.value <= one.high for curve in found.curves.values() for one in curve)
    trained = len(list(tmp_path.iterdir()))
    assert few_labels(subjects, "kept", right, SMALL, tmp_path, fit_here) == found
    assert len(list(tmp_path.iterdir())) == trained == 10
    wrong = SyntheticDataset(right.ids, right.images, right.prompts, {"glasses": 1 - right.labels["glasses"]})
    assert few_labels(subjects, "kept", wrong, SMALL, tmp_path, fit_here).synthetic.value < 0.1

    drawn = chart(AuditResult(few_labels=found))
    assert [len(line.points) for line in drawn.lines] == [3, 3, 3]
    assert drawn.columns == ["Learned from", "8", "16", "32"]
    assert public_part(AuditResult(few_labels=found), {"glasses"}).few_labels is None


def test_without_a_label_it_says_why(people, tmp_path):
    real, right = people
    bare = SyntheticDataset(right.ids, right.images, right.prompts, {"age": np.ones(24)})
    found = few_labels(Subjects(real, AuditSettings(), 3), "kept", bare, SMALL, tmp_path, fit_here)
    assert isinstance(found, NotMeasured)
    assert chart(AuditResult(few_labels=found)) is None


def test_a_run_and_an_audit_of_others_samples_ask_alike(people, tmp_path):
    real, right = people
    audit = AuditSettings(utility_steps=4, bootstrap=20, utility="semi_vit", few_labels=SMALL)
    found = worth_of_few(real, "synthetic", right, Settings(name="x", audit=audit, seed=3), tmp_path, Reporter())
    assert isinstance(found, FewLabels)
    assert found.arm == "synthetic"
    none = worth_of_few(real, "synthetic", replace(right, labels={}), Settings(name="x", audit=audit), tmp_path, Reporter())
    assert isinstance(none, NotMeasured)


def test_images_are_drawn_and_not_the_first_of_a_file():
    labels = np.arange(40.0) // 20  # sorted by class, as files often are
    found = _known(np.zeros((40, 1, 1, 1), np.uint8), labels, [str(row) for row in range(40)], 10, 3)
    assert 0 < found.labels.sum() < 10
    assert [int(who) for who in found.people] == sorted(int(who) for who in found.people)
    whole = _known(np.zeros((40, 1, 1, 1), np.uint8), labels, [str(row) for row in range(40)], 40, 3)
    assert whole.people == [str(row) for row in range(40)]


def test_a_test_of_one_class_is_not_measured_and_nothing_is_trained(people, tmp_path, monkeypatch):
    real, right = people
    settings = AuditSettings(utility_steps=4, samples=24, utility="semi_vit", few_labels=SMALL)
    subjects = Subjects(real, settings, 3)
    test = set(subjects.strangers.identities)

    def drawn(images, labels, who, most, seed):
        found = _known(images, labels, who, most, seed)
        return replace(found, labels=0 * found.labels) if test & set(found.people) else found

    monkeypatch.setattr("pd.audit.few_labels._known", drawn)
    found = few_labels(subjects, "kept", right, SMALL, tmp_path, fit_here)
    assert isinstance(found, NotMeasured)
    assert "one class" in found.why
    assert not list(tmp_path.iterdir())
