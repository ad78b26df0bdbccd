import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pd.audit.estimate import Estimate
from pd.audit.figures import why_not
from pd.audit.membership import likelihood_ratio, loss_scores, membership

PEOPLE, EACH = 20, 10
NAMES = [str(who) for who in np.repeat(np.arange(PEOPLE), EACH)]


def scores(rng: np.random.Generator, shift: float = 0.0) -> np.ndarray:
    """Half of the variance is the person's, half the picture's."""
    return shift + np.repeat(rng.normal(size=PEOPLE), EACH) + rng.normal(size=PEOPLE * EACH)


def test_what_cannot_be_told_apart_has_an_interval_that_covers_a_half_19_times_in_20() -> None:
    rng = np.random.default_rng(0)
    draws = 200
    found = [membership(scores(rng), scores(rng), NAMES, NAMES, bootstrap=200, seed=draw).auc for draw in range(draws)]
    covered = sum(one.low <= 0.5 <= one.high for one in found)
    assert 0.91 * draws <= covered < draws


def test_what_is_far_apart_is_found_and_the_auc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    member, holdout = scores(rng, 3.0).round(1), scores(rng).round(1)  # rounded: there are ties
    found = membership(member, holdout, NAMES, NAMES, bootstrap=200, seed=0)
    known = [1] * len(member) + [0] * len(holdout)
    assert found.auc.value == pytest.approx(roc_auc_score(known, np.concatenate([member, holdout])))
    assert 0.8 < found.auc.low < found.auc.value < found.auc.high <= 1


def test_true_positives_are_counted_where_one_hold_out_image_in_a_hundred_is_mistaken() -> None:
    holdout = np.arange(200.0)  # two of 200 may be above the bar: it is 197
    member = np.array([196.0, 197.0, 197.5, 300.0])
    found = membership(member, holdout, list("abcd"), [str(i) for i in range(200)], bootstrap=200, seed=0)
    assert found.tpr_at_1.value == 0.5
    assert found.tpr_at_1.low < 0.5 < found.tpr_at_1.high


def test_too_few_hold_out_images_for_one_percent_are_said_to_be() -> None:
    found = membership(np.ones(4), np.zeros(99), list("abcd"), [str(i) for i in range(99)], bootstrap=50, seed=0)
    assert "99 hold-out images" in why_not(found.tpr_at_1)
    assert found.auc.value == 1.0


def test_people_and_not_images_are_what_the_interval_counts() -> None:
    rng = np.random.default_rng(2)
    member, holdout = np.repeat(rng.normal(size=(2, PEOPLE)), EACH, axis=1)  # all pictures of a person are alike
    people = membership(member, holdout, NAMES, NAMES, bootstrap=300, seed=0).auc
    singles = [str(i) for i in range(len(NAMES))]
    images = membership(member, holdout, singles, singles, bootstrap=300, seed=0).auc
    assert people.high - people.low > 2 * (images.high - images.low)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        membership(np.array([np.nan]), np.zeros(1), ["a"], ["b"], bootstrap=10, seed=0)


@pytest.mark.parametrize("variant", ["online", "offline"])
def test_shadows_find_members_that_the_loss_alone_does_not(variant: str) -> None:
    """Images differ in how hard they are by far more than learning lowers their loss."""
    rng = np.random.default_rng(3)
    images, shadows = 2 * len(NAMES), 8
    hard = rng.normal(5.0, 1.0, images)
    half = rng.random((shadows // 2, images)) < 0.5
    inside = np.concatenate([half, ~half])
    losses = hard - 0.3 * inside + rng.normal(0, 0.1, (shadows, images))
    learned = np.arange(images) < len(NAMES)
    target = hard - 0.3 * learned + rng.normal(0, 0.1, images)
    ratio = likelihood_ratio(target, losses, inside, variant)  # type: ignore[arg-type]
    assert roc_auc_score(learned, -target) < 0.65
    assert roc_auc_score(learned, ratio) > 0.95


def test_an_image_that_every_shadow_learned_is_refused() -> None:
    with pytest.raises(ValueError, match="in all shadows"):
        likelihood_ratio(np.zeros(2), np.zeros((2, 2)), np.array([[True, True], [True, False]]), "offline")


def test_a_loss_score_is_larger_for_a_smaller_loss() -> None:
    assert loss_scores(np.array([[1, 3], [0, 2]], np.float32)).tolist() == [-2.0, -1.0]


@pytest.mark.parametrize(("members", "strangers", "each"), [(20, 10, 20), (40, 10, 10)])
def test_true_positives_of_people_with_nothing_to_find_are_hardly_ever_shown(members: int, strangers: int, each: int) -> None:
    """Pictures of one person are alike, so that one stranger may set the bar."""
    names = [f"p{person:02d}" for person in range(members + strangers) for _ in range(each)]
    inside = members * each

    def found(seed: int, learned: float) -> Estimate:
        rng = np.random.default_rng(seed)
        scores = np.repeat(rng.normal(size=members + strangers), each) + 0.3 * rng.normal(size=len(names))
        scores[:inside] += learned * (rng.random(inside) < 0.3)
        told = membership(scores[:inside], scores[inside:], names[:inside], names[inside:], bootstrap=200, seed=1).tpr_at_1
        assert isinstance(told, Estimate)
        return told

    assert sum(found(seed, 0).low > 0.01 for seed in range(60)) <= 4  # 2 or 3 in 100 are chance
    assert all(found(seed, 5).low > 0.01 for seed in range(5))
