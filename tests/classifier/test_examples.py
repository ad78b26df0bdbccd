"""Teachers share no person; labels that make no classes are refused before any work."""

import itertools

import numpy as np
import pytest
from refusals import refused_as

from pd.classifier.examples import Examples, _order, examples, refuse_unfit
from pd.config import ClassifierSettings
from pd.errors import UserError

SETTINGS = ClassifierSettings(label="x", teachers=4, images_per_person=2)


def given(values: list[object], people: list[str], k: int = 1, settings: ClassifierSettings = SETTINGS) -> Examples:
    images = np.arange(len(values), dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    return examples(images, values, people, settings, k, 3)  # type: ignore[arg-type]


def test_parts_share_no_person_and_lose_nobody() -> None:
    people = [f"p{n // 3}" for n in range(120)]  # three images each, of which two enter
    held = given(["a", "b"] * 60, people)
    assert held.people == 40
    assert np.bincount(held.owner).tolist() == [2] * 40
    parts = held.parts(4, seed=5)
    whose = [set(held.owner[rows].tolist()) for rows in parts]
    assert sorted(person for part in whose for person in part) == list(range(40))
    assert [len(part) for part in whose] == [10] * 4
    # an image is who it was, and what it was called
    pictures = held.images[:]
    for row, picture in enumerate(pictures):
        number = int(picture[0, 0, 0])
        assert held.classes[held.labels[row]] == "ab"[number % 2]
        assert people[number] == sorted(set(people))[held.owner[row]]


def test_another_person_changes_one_part_alone() -> None:
    people = [f"p{n}" for n in range(40)]
    one, other = (given(values, people) for values in (["a", "b"] * 20, ["a", "b"] * 19 + ["b", "b"]))
    changed = [
        not np.array_equal(one.labels[a], other.labels[b]) for a, b in zip(one.parts(4, 1), other.parts(4, 1), strict=True)
    ]
    assert sum(changed) == 1


def test_images_without_a_label_are_left_out() -> None:
    held = given([1.0, float("nan"), 0.0, None, 1.0, 0.0], list("abcdef"))
    assert held.classes == ("0", "1")
    assert held.images[:, 0, 0, 0].tolist() == [0, 2, 4, 5]


def test_order_of_classes_does_not_depend_on_the_process() -> None:
    """Nothing is below `nan`: the order would be that of a set, which is another one in each process."""
    for names in itertools.permutations(["nan", "10", "9", "inf", "x"]):
        assert sorted(names, key=_order) == ["9", "10", "inf", "nan", "x"]


@pytest.mark.parametrize(
    ("values", "k", "words"),
    [
        (["a"] * 8, 1, "one class"),
        ([None] * 8, 1, "no image has this label"),
        ([float(n) for n in range(80)], 1, "80 different values are too many"),
        (["secret"] + ["a", "b"] * 5, 3, "1 of 3 classes are of fewer than 3 people"),
    ],
)
def test_labels_that_make_no_classes(values: list[object], k: int, words: str) -> None:
    with pytest.raises(UserError, match=words) as refused:
        given(values, [f"p{n}" for n in range(len(values))], k)
    assert "secret" not in str(refused.value)


def test_a_class_that_a_part_never_sees() -> None:
    held = given(["a"] * 37 + ["b"] * 3, [f"p{n}" for n in range(40)])
    with refused_as("too-few-labels", "classifier.teachers"):
        refuse_unfit(held, SETTINGS, 3)
    refuse_unfit(held, SETTINGS.model_copy(update={"method": "dp_sgd"}), 3)
