import json
from collections import Counter

import numpy as np
from refusals import refused_as

from pd.filters.prompts import Prompts, choose_prompts, generalise

CAPTIONS = ["a face"] * 4 + ["with glasses"] * 3 + ["a scar on the chin"] * 3
PEOPLE = ["ann", "bob", "cy", "ann", "ann", "bob", "dee", "eve", "eve", "eve"]
LABELS = {
    "glasses": np.array([0.0] * 4 + [1.0] * 3 + [0.0] * 3),
    "age": np.array([30.0, 31, 32, 30, 40, 40, np.nan, 9, 9, 9]),
}


def test_only_captions_of_k_people():
    prompts = choose_prompts(CAPTIONS, PEOPLE, LABELS, 3)
    assert prompts.texts == ("a face", "with glasses")
    assert prompts.weights == (4, 3)
    assert (prompts.dropped_captions, prompts.dropped_images) == (1, 3)


def test_three_pictures_of_one_person_are_not_three_people():
    assert "a scar on the chin" not in choose_prompts(CAPTIONS, PEOPLE, {}, 2).texts


def test_a_label_travels_only_where_all_images_agree():
    labels = choose_prompts(CAPTIONS, PEOPLE, LABELS, 3).labels
    assert labels["glasses"] == (0.0, 1.0)
    # Ages differ among the first; the second's are equal, but one is missing, so they may be one person's.
    assert labels["age"] == (None, None)


def test_a_label_of_few_people_travels_nowhere_not_even_its_name():
    labels = {**LABELS, "rare": np.array([1.0] + [0.0] * 9), "twice": np.array([1.0, 1.0] + [0.0] * 8)}
    assert set(choose_prompts(CAPTIONS, PEOPLE, labels, 3).labels) == {"glasses", "age"}
    assert set(choose_prompts(CAPTIONS, PEOPLE, labels, 2).labels) == {"glasses", "age", "twice"}


def test_no_caption_is_shared_enough():
    with refused_as("too-few-people", "4") as caught:
        choose_prompts(CAPTIONS, PEOPLE, {}, 4)
    assert "chin" not in str(caught.value)


def test_prompt_of_is_a_function_of_seed_and_id():
    prompts = choose_prompts(CAPTIONS, PEOPLE, LABELS, 3)
    drawn = [prompts.prompt_of(sample, 7) for sample in range(7000)]
    assert drawn == [prompts.prompt_of(sample, 7) for sample in range(7000)]
    assert drawn != [prompts.prompt_of(sample, 8) for sample in range(7000)]
    counts = Counter(drawn)
    assert set(counts) == {0, 1}
    assert abs(counts[0] / 7000 - 4 / 7) < 0.03


def test_json_and_digest():
    prompts = choose_prompts(CAPTIONS, PEOPLE, LABELS, 3)
    again = Prompts.from_json(json.loads(json.dumps(prompts.to_json())))
    assert again == prompts
    assert again.digest() == prompts.digest()
    assert choose_prompts(CAPTIONS, PEOPLE, LABELS, 1).digest() != prompts.digest()


def test_rare_captions_are_made_general_from_labels_where_enough_people_share_the_words():
    captions = ["a cat", "a cat", "Mr Smith of Elm Street", "his neighbour", "generic", "generic"]
    people = ["a", "b", "c", "d", "e", "f"]
    labels = {
        "glasses": np.array([0.0, 0.0, 1.0, 1.0, 0.0, np.nan]),
        "age": np.array([3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
        "scar": np.array([0.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
    }
    found = generalise(captions, people, labels, 2, "generic")
    assert found == ["a cat", "a cat", "generic, glasses", "generic, glasses", "generic", "generic"]
    prompts = choose_prompts(found, people, labels, 2)
    assert prompts.texts == ("a cat", "generic", "generic, glasses")
    assert prompts.labels["glasses"] == (0.0, None, 1.0)
