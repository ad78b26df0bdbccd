import random

from pd.dataset.shared import people_with
from pd.filters.report_phrases import phrases_in, report_prompts


def test_phrases():
    report = "FINDINGS: No pleural effusion. Nodule of 5 mm, Heart size normal; seen by Dr. Miller. Since 12/03/2019. ___ y.o."
    assert phrases_in(report) == ["no pleural effusion", "nodule of # mm", "heart size normal"]
    assert phrases_in("a nodule of 1.5 cm") == phrases_in("A nodule  of 22 cm.")
    assert phrases_in("[**Name**] is well. XXXX seen. At 10:30 stable. In March better.") == []


def test_what_is_denied_is_never_said_to_be_there():
    wrapped = "Large effusion, old. There is no focal consolidation, pleural effusion,\n or pneumothorax."
    assert phrases_in(f"{wrapped} Small right-sided\n edema is new.") == [
        "large effusion",
        "old",
        "there is no focal consolidation, pleural effusion, or pneumothorax",
        "small right-sided",  # a short line ends what it says
        "edema is new",
    ]
    assert phrases_in("Pneumothorax: None. Heart: normal; edema, effusion") == [
        "pneumothorax: none",
        "heart: normal",
        "edema",
        "effusion",
    ]
    assert phrases_in("sin derrame, cardiomegalia. Kein Erguss, Stauung") == [
        "sin derrame, cardiomegalia",
        "kein erguss, stauung",
    ]


def test_a_prompt_keeps_what_is_denied_apart():
    found = report_prompts(["Edema. No effusion, fracture."] * 3 + ["edema, scar"] * 3, list("abcdef"), 3, "an x-ray")
    assert found.prompts == ["an x-ray; edema; no effusion, fracture"] * 3 + ["an x-ray, edema, scar"] * 3


def test_what_a_picture_was_taken_for_is_no_finding():
    report = (
        "FINAL REPORT\n INDICATION:  ?pneumonia.\n Comparison: none.\n\n FINDINGS: \n \n Edema is new.\n\n IMPRESSION: \n Edema"
    )
    assert phrases_in(report) == ["edema is new", "edema"]
    assert phrases_in("INDICATION: pneumonia. FINDINGS: edema, COMPARISON: none.") == ["edema"]
    assert phrases_in("History: of edema") == ["of edema"]  # nothing ends it: the whole report, perhaps


def test_what_k_people_share_is_kept():
    reports = ["effusion. edema.", "Effusion, edema", "edema; effusion. rare thing", "effusion", "effusion.", "effusion"]
    found = report_prompts(reports, list("abcdef"), 3, "an x-ray")
    assert found.prompts == ["an x-ray, effusion, edema"] * 3 + ["an x-ray, effusion"] * 3
    assert (found.kept, found.rare, found.unfit, found.lost) == ({"effusion": 6, "edema": 3}, {"rare thing": 1}, 0, 1)
    assert report_prompts(["edema. seen on 3/4/2020", "edema. ___ by dr. x"], ["a", "b"], 2, "s").unfit == 2


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


def test_what_is_there_stays_longer_than_what_is_denied() -> None:
    """Denials are common, findings are not: left out by rarity alone, the findings would go first."""
    reports = ["Effusion. No pneumothorax."] + ["Effusion."] * 2 + ["No pneumothorax."] * 3
    found = report_prompts(reports, [f"p{row}" for row in range(6)], 3, "an X-ray")
    assert found.kept == {"no pneumothorax": 4, "effusion": 3}
    assert found.prompts == ["an X-ray, effusion"] * 3 + ["an X-ray, no pneumothorax"] * 3
