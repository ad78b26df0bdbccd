"""What is made besides the candidates: enough of each prompt or label, and ids that no threshold changes."""

import numpy as np
import pytest
from refusals import refused_as

from pd.filters.prompts import Prompts
from pd.filters.top_up import BlockPrompts, Wanted, counted, within

PROMPTS = Prompts(
    texts=("a face", "a face with glasses", "a face, smiling"),
    weights=(6, 2, 2),
    labels={"glasses": (0.0, 1.0, 0.0), "smiling": (0.0, 0.0, 1.0), "age": (None, 0.0, 0.0)},
)


def loop(wanted: Wanted, rates: tuple[float, ...], kept: tuple[int, ...], asked: tuple[int, ...]) -> tuple[np.ndarray, int]:
    """Make blocks of ten until there is enough, keeping these shares; what is kept, and how many blocks it took."""
    now, made, blocks = np.array(kept), np.array(asked), 0
    sides: dict[str, float] = {}
    for _ in range(20):
        sides = sides or wanted.sides(PROMPTS, now)
        more = wanted.blocks(PROMPTS, now, made, sides, 10)
        if not more.any():
            break
        now = now + np.round(np.array(rates) * more * 10).astype(np.int64)
        made, blocks = made + more * 10, blocks + int(more.sum())
    return now, blocks


def test_ids_go_on_in_blocks_of_each_prompt_in_turn() -> None:
    prompts = BlockPrompts.after(PROMPTS, 100, 4)
    assert [prompts.prompt_of(sample, 7) for sample in range(100, 124)] == [0] * 4 + [1] * 4 + [2] * 4 + [0] * 4 + [1] * 4 + [
        2
    ] * 4
    assert prompts.block_of(1, 0) == range(104, 108)
    assert prompts.block_of(1, 1) == range(116, 120)
    assert {prompts.prompt_of(sample, 0) for sample in prompts.block_of(2, 5)} == {2}
    assert prompts.digest() != BlockPrompts.after(PROMPTS, 101, 4).digest()


def test_every_prompt_gets_as_many_kept() -> None:
    kept, blocks = loop(Wanted(50, {}), (0.9, 0.5, 0.1), (60, 20, 2), (66, 40, 20))
    assert (kept >= 50).all()
    assert kept[0] == 60  # there were enough
    assert blocks < 80  # 6 and 48 blocks would do


def test_a_share_is_reached_from_below_and_from_above() -> None:
    for share in (0.5, 0.05):
        kept, _ = loop(Wanted(0, {"glasses": share}), (0.8, 0.8, 0.8), (60, 20, 20), (75, 25, 25))
        assert kept[1] / kept.sum() == pytest.approx(share, abs=0.04)
    balanced, _ = loop(Wanted(0, {"glasses": 0.3, "smiling": 0.3}), (0.8, 0.8, 0.8), (60, 5, 5), (75, 7, 7))
    assert balanced[1:] / balanced.sum() == pytest.approx([0.3, 0.3], abs=0.06)


def test_a_share_is_reached_when_what_each_prompt_lacked_has_turned_it_round() -> None:
    wanted = Wanted(100, {"glasses": 0.5})
    kept, _ = loop(wanted, (0.8, 0.8, 0.8), (10, 20, 5), (12, 25, 6))  # at first too many with glasses, then too few
    assert (kept >= 100).all()
    assert kept[1] / kept.sum() == pytest.approx(0.5, abs=0.04)
    assert not wanted.off(PROMPTS, kept)
    assert wanted.off(PROMPTS, np.array([100, 100, 100])) == ["glasses: 0.33 instead of 0.5"]


def test_what_is_there_already_asks_for_nothing() -> None:
    enough = Wanted(20, {"glasses": 0.2})
    kept = np.array([60, 20, 20])
    assert not enough.blocks(PROMPTS, kept, kept, enough.sides(PROMPTS, kept), 10).any()


def test_the_bound_holds_and_who_wants_least_is_served_first() -> None:
    assert within(np.array([9, 2, 5]), 100).tolist() == [9, 2, 5]
    assert within(np.array([9, 2, 5]), 9).tolist() == [4, 2, 3]
    assert within(np.array([9, 2, 5]), 0).tolist() == [0, 0, 0]
    assert within(np.array([0, 7, 0]), 3).tolist() == [0, 3, 0]


def test_rows_are_counted_by_prompt() -> None:
    texts = ["a face", "a face, smiling", "a face", "rare"]
    assert counted(PROMPTS, texts, np.array([True, True, False, True])).tolist() == [1, 0, 1]


@pytest.mark.parametrize("name", ["beard", "age"])
def test_a_label_that_prompts_do_not_tell_is_refused(name: str) -> None:
    with refused_as("unknown-name", f"'{name}'") as refused:
        Wanted(0, {name: 0.5}).check(PROMPTS)
    assert "glasses, smiling" in str(refused.value)
