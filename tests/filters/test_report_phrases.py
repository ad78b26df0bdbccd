import random

from pd.dataset.shared import people_with
from pd.filters.report_phrases import phrases_in, report_prompts


def test_phrases():
    report = "FINDINGS: No pleural effusion. Nodule of 5 mm, Heart size normal; seen by Dr. Miller. Since 12/03/2019. ___ y.o."
    assert phrases_in(report) == ["findings", "no pleural effusion", "nodule of # mm", "heart size normal"]
    assert phrases_in("a nodule of 1.5 cm") == phrases_in("A nodule  of 22 cm.")
    assert phrases_in("[**Name**] is well. XXXX seen. At 10:30 stable. In March better.") == []


def test_what_k_people_share_is_kept():
    reports = ["effusion. edema.", "Effusion, edema", "edema; effusion. rare thing", "effusion", "effusion.", "effusion"]
    found = report_prompts(reports, list("abcdef"), 3, "an x-ray")
    assert found.prompts == ["an x-ray, effusion, edema"] * 3 + ["an x-ray, effusion"] * 3
    assert (found.kept, found.lost) == ({"effusion": 6, "edema": 3}, 1)


def test_one_person_with_many_images_is_one():
    found = report_prompts(["edema"] * 5 + ["edema"], list("aaaaab"), 3, "an x-ray")
    assert set(found.prompts) == {"an x-ray"}


def test_every_prompt_is_shared_or_says_nothing():
    """Any reports, any people."""
    draw = random.Random(3)
    words = [f"word{chr(97 + n)}" for n in range(9)]
    for _ in range(60):
        people = [str(draw.randrange(25)) for _ in range(80)]
        reports = [". ".join(draw.sample(words, draw.randrange(0, 7))) for _ in people]
        found = report_prompts(reports, people, 4, "s")
        assert all(prompt == "s" or count >= 4 for prompt, count in people_with(found.prompts, people).items())
        for prompt, report in zip(found.prompts, reports, strict=True):
            assert set(prompt.split(", ")[1:]) <= set(phrases_in(report))
