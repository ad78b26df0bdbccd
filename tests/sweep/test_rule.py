import numpy as np
import pytest

from pd.sweep.rule import Constraint, choose, merit, missed, pareto


def figures(kept: float, excess: float | None, coverage: float = 0.5) -> dict[str, float | None]:
    return {"kept": kept, "excess": excess, "excess_high": None if excess is None else excess + 0.01, "coverage": coverage}


SAFE, WIDE, POOR, NOBODY = figures(0.2, 0.01), figures(0.6, 0.3), figures(0.1, 0.2), figures(0.0, None)
ALL = [POOR, WIDE, SAFE, NOBODY]
LIMITS = [Constraint.parse("excess_high <= 0.02"), Constraint.parse("kept >= 0.2")]


@pytest.mark.parametrize(
    ("text", "value", "by"),
    [
        ("excess_high <= 0.02", 0.02, 0),
        ("excess_high <= 0.02", 0.12, 0.1),
        ("kept >= 0.2", 0.05, 0.15),
        ("kept > 0.2", 0.2, 1e-9),
        ("excess<-1e-2", 0.0, 0.01),
        ("excess_high <= .02", 0.12, 0.1),
        ("excess_high <= 2E-2", 0.12, 0.1),
        ("kept >= +1.", 0.5, 0.5),
    ],
)
def test_how_far_a_constraint_is_missed(text: str, value: float, by: float) -> None:
    constraint = Constraint.parse(text)
    assert constraint.missed_by({constraint.name: value}) == pytest.approx(by)
    assert constraint.missed_by({}) == float("inf")


@pytest.mark.parametrize("text", ["", "kept", "kept >= much", "kept >= 0.2; exit", "__class__ >= 1", "kept == 1", "loss <= 1"])
def test_what_is_no_constraint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no constraint"):
        Constraint.parse(text)


def test_the_pareto_set_of_points_that_are_known() -> None:
    assert pareto(ALL, ["excess", "kept"]).tolist() == [False, True, True, False]
    assert pareto([SAFE, dict(SAFE)], ["excess", "kept"]).tolist() == [True, False]
    assert pareto([NOBODY], ["excess"]).tolist() == [False]


def test_the_pareto_set_is_what_comparing_all_pairs_gives() -> None:
    rng = np.random.default_rng(0)
    points = rng.integers(0, 6, (200, 3)) / 10
    trials = [figures(kept, excess, coverage) for kept, excess, coverage in points.tolist()]
    turned = points * [1, -1, 1]
    unbeaten = [not any((other >= one).all() and (other > one).any() for other in turned) for one in turned]
    found = pareto(trials, ["kept", "excess", "coverage"])
    assert {tuple(point) for point in points[found]} == {tuple(point) for point in points[unbeaten]}
    assert len({tuple(point) for point in points[found]}) == found.sum()


def test_the_best_of_those_that_keep_the_constraints_is_chosen() -> None:
    wider = figures(0.3, 0.005)
    choice = choose([*ALL, wider], LIMITS, "kept", ["excess"])
    assert choice.index == 4
    assert choice.keeps
    assert choice.words == (
        "2 of 5 trials keep excess_high <= 0.02 and kept >= 0.2; of these, the one with the most kept is chosen"
    )
    assert choose([*ALL, wider], LIMITS, "excess", ["kept"]).index == 4
    assert choose([SAFE, dict(SAFE)], LIMITS, "kept", ["excess"]).index == 0
    assert choose(ALL, [], "kept", ["excess"]).index == 1


def test_where_none_keeps_them_the_least_violation_is_chosen_and_said() -> None:
    choice = choose([POOR, WIDE, NOBODY], LIMITS, "kept", ["excess"])
    assert (choice.index, choice.keeps) == (1, False)
    assert "none of 3 trials keeps" in choice.words
    assert missed(POOR, LIMITS) == pytest.approx(0.29)
    assert choose([NOBODY], LIMITS, "kept", ["excess"]).index == 0


def test_merit_prefers_any_trial_that_keeps_the_constraints() -> None:
    assert merit(SAFE, LIMITS, "kept") == 0.2
    assert merit(WIDE, LIMITS, "kept") < merit(SAFE, LIMITS, "kept")
    assert merit(NOBODY, LIMITS, "kept") == -1e6
    assert merit(SAFE, [], "excess") == -0.01
