import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pd.audit.utility import Utility, shared_by, utility, weighted_auc


def test_weighted_auc_is_sklearns() -> None:
    rng = np.random.default_rng(0)
    score = rng.integers(0, 8, 60).astype(float)  # many ties
    positive = rng.random(60) < 0.4
    weight = rng.integers(0, 4, (5, 60)).astype(float)
    expected = [roc_auc_score(positive, score, sample_weight=row) for row in weight]
    assert weighted_auc(score, positive, weight) == pytest.approx(expected)
    assert np.isnan(weighted_auc(score, positive, np.where(positive, 0.0, weight))).all()


def measured(signal: float, seed: int = 1) -> Utility:
    rng = np.random.default_rng(seed)
    train_truth, truth = rng.random(300) < 0.4, rng.random(200) < 0.4
    train, test = (
        rng.normal(size=(len(y), 10)).astype(np.float32) + signal * y[:, None].astype(np.float32) for y in (train_truth, truth)
    )
    missing = np.where(np.arange(200) % 7 == 0, np.nan, truth.astype(float))
    return utility(
        train,
        {"hat": train_truth.astype(float), "age": rng.normal(size=300), "one": np.ones(300), "mine": np.ones(300)},
        test,
        {"hat": missing, "age": rng.normal(size=200), "one": truth.astype(float)},
        [str(i // 4) for i in range(200)],
        steps=200,
        bootstrap=200,
        seed=2,
    )


def test_a_label_that_images_show_is_learnt_and_the_rest_is_named() -> None:
    found = measured(signal=1.0)
    assert found.auc is not None
    assert found.auc.low > 0.9
    assert found.auc.n == 171  # of 200 images every seventh has no label
    assert found.auc.value == found.labels["hat"]
    assert found.skipped == {
        "age": "not a yes-or-no label",
        "mine": "the training images have one class only",
        "one": "the training images have one class only",
    }


def test_a_label_that_images_do_not_show_is_chance() -> None:
    found = [measured(signal=0.0, seed=seed).auc for seed in range(20)]
    assert sum(auc is not None and auc.low <= 0.5 <= auc.high for auc in found) >= 17


def test_nothing_usable_gives_none() -> None:
    rows = np.zeros((4, 2), np.float32)
    found = utility(rows, {}, rows, {"hat": np.ones(4)}, list("abcd"), steps=5, bootstrap=5, seed=0)
    why = "no label can be used"
    assert found == Utility(auc=None, why=why, labels={}, skipped={"hat": "not in the training images"})


def test_means_are_over_the_labels_that_every_set_can_teach() -> None:
    """An arm that lacks the hard label would look more useful than one that has it."""
    rng = np.random.default_rng(3)
    truth = {"easy": rng.random(200) < 0.5, "hard": rng.random(200) < 0.5}
    features = rng.normal(size=(200, 10)).astype(np.float32) + 2 * truth["easy"][:, None].astype(np.float32)
    labels = {name: values.astype(float) for name, values in truth.items()}
    arms = [labels, {"easy": labels["easy"], "hard": np.ones(200)}, {}]
    among = shared_by(arms)
    assert among == {"easy"}
    people = [str(i // 4) for i in range(200)]
    how = {"steps": 200, "bootstrap": 100, "seed": 2}
    both, lacking = (utility(features, arm, features, labels, people, **how, among=among) for arm in arms[:2])
    assert both.auc == lacking.auc
    assert set(both.labels) == {"easy", "hard"}  # each is still told
    alone = utility(features, labels, features, labels, people, **how)
    assert alone.auc is not None
    assert both.auc is not None
    assert alone.auc.value < both.auc.value
    assert utility(features, labels, features, labels, people, **how, among={"other"}) == alone
