from itertools import combinations

import numpy as np
import pytest

from pd.audit.fingerprints import PLACES, SHAPES, Mark, choose, detect, likeness, plant, stamp, threshold
from pd.dataset.private import PrivateDataset
from pd.errors import UserError

DOSES = (1, 2, 4, 8, 16, 32, 64)


def test_doses_have_their_own_places_and_images_and_follow_from_the_seed() -> None:
    planted = choose(DOSES, 200, seed=3)
    assert [len(one.rows) for one in planted] == list(DOSES)
    assert len({(one.mark.row, one.mark.column) for one in planted}) == len(DOSES)
    rows = np.concatenate([one.rows for one in planted])
    assert len(set(rows.tolist())) == sum(DOSES)
    for one, again in zip(planted, choose(DOSES, 200, seed=3), strict=True):
        assert (one.mark, one.control, one.rows.tolist()) == (again.mark, again.control, again.rows.tolist())
        assert (one.control.row, one.control.column) == (one.mark.row, one.mark.column)
        assert one.control.shape != one.mark.shape
    assert [one.mark for one in choose(DOSES, 200, seed=4)] != [one.mark for one in planted]


def test_images_carry_several_marks_where_there_are_too_few_of_them() -> None:
    planted = choose((6, 6), 8, seed=0)
    assert [len(set(one.rows.tolist())) for one in planted] == [6, 6]
    assert set(planted[0].rows.tolist()) & set(planted[1].rows.tolist())


@pytest.mark.parametrize("doses", [(), (0,), (9,), (1,) * (len(PLACES) + 1)])
def test_doses_that_cannot_be_are_refused(doses: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="--doses"):
        choose(doses, 8, seed=0)


def test_samples_that_are_marked_images_are_all_found_and_no_others(orl: PrivateDataset) -> None:
    members, strangers = orl.members().images, orl.holdout().images
    planted = choose(DOSES, len(members), seed=1)
    marked = plant(members, planted)
    for one in planted:
        assert likeness(marked[one.rows], one.mark) == pytest.approx(1)
        assert likeness(marked[one.rows][:, :, ::-1], one.mark) == pytest.approx(1)  # mirrored in training
    found = detect(marked, strangers, planted, 0.01)
    for dose, one in zip(DOSES, found, strict=True):
        assert one.mark.value >= dose / len(members)
        assert one.mark.value <= dose / len(members) + 0.05
        assert one.control.value <= 0.05
        assert one.mark.low < one.mark.value < one.mark.high
    assert (marked != members).any(axis=(1, 2, 3)).sum() == sum(DOSES)


def test_unmarked_images_give_the_false_positive_rate_that_was_asked_for(orl: PrivateDataset) -> None:
    everybody = np.random.default_rng(0).permutation(orl.images)
    known, new = everybody[:200], everybody[200:]
    rates = [(likeness(new, mark) > threshold(likeness(known, mark), 0.05)).mean() for mark in all_marks()]
    assert 0.03 < float(np.mean(rates)) < 0.07


def all_marks() -> list[Mark]:
    return [Mark(shape, *place) for shape in SHAPES for place in PLACES]


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
    assert likeness(np.full((2, 32, 32, 3), 7, np.uint8), Mark("ring", 0, 0)).tolist() == [0, 0]


def test_images_too_small_for_marks_are_refused() -> None:
    with pytest.raises(UserError, match=r"data\.size"):
        stamp("ring", 16)
