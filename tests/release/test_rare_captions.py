"""Captions that too few share are found, and only those."""

import pytest

from pd.release.rare_captions import RareCaptions

PUBLIC, RARE, STRANGER = "a photo of a face", "a photo of a face with a scar", "a photo of a blue hat"


@pytest.fixture
def captions():
    texts = [PUBLIC] * 4 + [RARE] * 4 + [STRANGER] * 4 + ["anna"] * 2
    people = list("abcc" + "abbb" + "xyzw" + "aa")
    return RareCaptions(texts, people, ["member"] * 8 + ["holdout"] * 4 + ["member"] * 2, k=3)


def test_people_count_and_not_images_and_only_members(captions):
    assert len(captions) == 3
    assert not captions.is_rare(PUBLIC)
    assert captions.is_rare(RARE)
    assert captions.is_rare(STRANGER)
    assert captions.is_rare("A photo of a face, with a scar.")


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        (f"- {PUBLIC}\n- {PUBLIC}", 0),
        (f"samples of {RARE} and more", 1),
        (f"{PUBLIC} with a hat; {RARE}. {STRANGER}", 2),
        ("Anna is a word in a sentence", 0),
        ('prompt: "Anna"', 1),
        ("- anna\n", 1),
        ("", 0),
    ],
)
def test_in_running_text(captions, text, hits):
    assert captions.in_text(text) == hits


def test_a_rare_caption_inside_a_public_one_is_no_leak():
    found = RareCaptions([PUBLIC] * 3 + ["photo of a"], ["a", "b", "c", "a"], ["member"] * 4, k=2)
    assert found.in_text(f"like {PUBLIC} here") == 0
    assert found.in_text("like photo of a here") == 1
