"""What benchmarks/population.py concludes from curves, and that it draws them."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from terminal import ROOT


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("population_figures")


def arm(excess: float, utility: float, ratio: float = 0.6) -> dict[str, Any]:
    def around(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.02, "high": value + 0.02}

    return {
        "excess": around(excess),
        "copies": around(0.0),
        "utility": around(utility),
        "covered": around(0.5),
        "likelihood_ratio": {"2 of 1": around(0.5), "16 of 0.25": around(0.4), "16 of 1": around(ratio), "4 of 1": around(0.3)},
    }


def curves(dropped: float) -> dict[str, Any]:
    students = {"kept": arm(0.03, 0.75), "filtered 300": arm(0.0, 0.70), "filtered 900": arm(0.01, 0.74)}
    return {
        "100/7": {
            "rows": [
                {"teacher_steps": 300, "arms": {"teacher": arm(0.0, 0.72)}},
                {"teacher_steps": 600, "arms": {"teacher": arm(0.2, 0.78), **students, "random_drop 900": arm(dropped, 0.76)}},
            ],
            "stopped_at": 300,
        }
    }


def test_the_conclusions_are_of_the_longest_students_where_the_teacher_leaks(figures: ModuleType) -> None:
    found = figures.conclude(curves(0.15))
    assert found["disjoint"] == {"100/7": True}
    assert found["filtered_high"] == pytest.approx(0.03)
    assert found["utility_gap"] == pytest.approx(0.04)
    both = found["early_vs_filtered"]["100/7"]
    assert (both["early"]["steps"], both["early"]["utility"]["value"]) == (300, 0.72)
    assert both["filtered"]["likelihood_ratio"]["value"] == 0.6  # by the most shadows
    assert figures.conclude(curves(0.04))["disjoint"] == {"100/7": False}


def test_where_no_teacher_leaks_nothing_is_claimed(figures: ModuleType) -> None:
    calm = curves(0.15)
    calm["100/7"]["rows"][1]["arms"]["teacher"] = arm(0.05, 0.78)
    found = figures.conclude(calm)
    assert found["disjoint"] == {"100/7": None}
    assert found["filtered_high"] is found["utility_gap"] is None


def test_it_draws_with_and_without_labels(figures: ModuleType, tmp_path: Path) -> None:
    some = curves(0.15)
    figures.draw(some, tmp_path / "a.png")
    for row in some["100/7"]["rows"]:
        for one in row["arms"].values():
            one["utility"] = None
    figures.draw(some, tmp_path / "b.png")
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("a.png", "b.png"))
    assert figures.table(some).row_count == 6
