from itertools import combinations

import numpy as np
import pytest
from refusals import refused_as

from pd.audit.fingerprints import PLACES, SHAPES, Canary, choose, detect, likeness, plant, stamp, threshold
from pd.dataset.private import PrivateDataset

REPETITIONS = (1, 2, 4, 8, 16, 32, 64)


def test_doses_have_their_own_places_and_images_and_follow_from_the_seed() -> None:
    planted = choose(REPETITIONS, 200, seed=3)
    assert [len(one.rows) for one in planted] == list(REPETITIONS)
    assert len({(one.canary.row, one.canary.column) for one in planted}) == len(REPETITIONS)
    rows = np.concatenate([one.rows for one in planted])
    assert len(set(rows.tolist())) == sum(REPETITIONS)
    for one, again in zip(planted, choose(REPETITIONS, 200, seed=3), strict=True):
        assert (one.canary, one.control, one.rows.tolist()) == (again.canary, again.control, again.rows.tolist())
        assert (one.control.row, one.control.column) == (one.canary.row, one.canary.column)
        assert one.control.shape != one.canary.shape
    assert [one.canary for one in choose(REPETITIONS, 200, seed=4)] != [one.canary for one in planted]


def test_images_carry_several_marks_where_there_are_too_few_of_them() -> None:
    planted = choose((6, 6), 8, seed=0)
    assert [len(set(one.rows.tolist())) for one in planted] == [6, 6]
    assert set(planted[0].rows.tolist()) & set(planted[1].rows.tolist())


@pytest.mark.parametrize("repetitions", [(), (0,), (9,), (1,) * (len(PLACES) + 1)])
def test_repetitions_that_cannot_be_are_refused(repetitions: tuple[int, ...]) -> None:
    with refused_as("bad-value", "--repetitions"):
        choose(repetitions, 8, seed=0)


def test_samples_that_are_marked_images_are_all_found_and_no_others(orl: PrivateDataset) -> None:
    members, strangers = orl.members().images, orl.holdout().images
    planted = choose(REPETITIONS, len(members), seed=1)
    changed = plant(members, planted)
    for one in planted:
        assert likeness(changed[one.rows], one.canary) == pytest.approx(1)
        assert likeness(changed[one.rows][:, :, ::-1], one.canary) == pytest.approx(1)  # mirrored in training
    found = detect(changed, strangers, planted, 0.01)
    for repeated, one in zip(REPETITIONS, found, strict=True):
        assert one.canary.value >= repeated / len(members)
        assert one.canary.value <= repeated / len(members) + 0.05
        assert one.control.value <= 0.05
        assert one.canary.low < one.canary.value < one.canary.high
    assert (changed != members).any(axis=(1, 2, 3)).sum() == sum(REPETITIONS)


def test_unmarked_images_give_the_false_positive_rate_that_was_asked_for(orl: PrivateDataset) -> None:
    everybody = np.random.default_rng(0).permutation(orl.images)
    known, new = everybody[:200], everybody[200:]
    rates = [(likeness(new, canary) > threshold(likeness(known, canary), 0.05)).mean() for canary in all_canaries()]
    assert 0.03 < float(np.mean(rates)) < 0.07


def all_canaries() -> list[Canary]:
    return [Canary(shape, *place) for shape in SHAPES for place in PLACES]


def test_a_threshold_of_few_images_is_their_largest() -> None:
    scores = np.arange(200.0)
    assert (scores > threshold(scores, 0.01)).sum() == 1  # of 201 with the new one, 2 at most
    assert threshold(scores[:50], 0.01) == 49


@pytest.mark.parametrize("side", [32, 64, 256])
def test_shapes_are_mirror_images_of_themselves_and_unlike_one_another(side: int) -> None:
    stamps = {shape: stamp(shape, side).astype(float) for shape in SHAPES}
    for figure in stamps.values():
        assert set(np.unique(figure)) == {0, 255}
        assert np.array_equal(figure, figure[:, ::-1])
    for one, two in combinations(stamps.values(), 2):
        assert np.corrcoef(one.reshape(-1), two.reshape(-1))[0, 1] < 0.5


def test_an_image_without_contrast_shows_no_mark() -> None:
    assert likeness(np.full((2, 32, 32, 3), 7, np.uint8), Canary("ring", 0, 0)).tolist() == [0, 0]


def test_images_too_small_for_marks_are_refused() -> None:
    with refused_as("bad-size", "data.size"):
        stamp("ring", 16)
