"""How many shadow models there are where nobody says: as many as add at most half of the run's work."""

from typing import Any

import pytest

from pd.config import parse_settings
from pd.engine.probe import Rates, Training
from pd.engine.shadows import WORTH, shadow_count, shadow_share
from pd.stages.plan import plan

MODEL = {"steps": 400, "batch": 64}
RUN: dict[str, Any] = {
    "teacher": MODEL,
    "student": MODEL,
    "generate": {"candidates": 4096, "sampler_steps": 6, "guidance": 1.5},
    "audit": {"samples": 2048},
}


@pytest.mark.parametrize(
    ("sets", "count", "share"),
    [
        ((), 4, 0.25),
        (("audit.shadow_steps=0.5",), 2, 0.5),
        (("audit.shadow_steps=1",), 0, 1.0),  # two whole ones would be more than half
        (("student.steps=10", "generate.candidates=64", "generate.batch=64", "audit.samples=64"), 2, 0.25),
        (("audit.shadows=0",), 0, 1.0),
        (("audit.shadows=16",), 16, 1.0),
        (("audit.shadows=16", "audit.shadow_steps=0.5"), 16, 0.5),
        (("teacher.trained=somewhere",), 0, 0.25),
    ],
)
def test_as_many_as_are_asked_for_or_as_add_at_most_half(sets: tuple[str, ...], count: int, share: float) -> None:
    settings = parse_settings(RUN, sets)
    assert (shadow_count(settings), shadow_share(settings)) == (count, share)


def test_pd_plan_agrees_that_they_add_at_most_half_where_all_is_as_quick() -> None:
    """Rates as the count of passes supposes them: a training step takes three of what a sampler's step takes."""
    rates = Rates(
        hardware="a machine", cores=1, gpu=False, images=100, decoded=1e9, image_bytes=1.0, reid=1e9,
        teacher=Training(1.0, 1), student=Training(1.0, 1), sampled=3 / 12, sampled_here=3 / 12, scored=1e9,
        candidate_bytes=1.0, why={},
    )  # fmt: skip
    settings = parse_settings(RUN)
    hours = {need.stage: need.hours or 0.0 for need in plan(settings, rates)}
    others = sum(spent for stage, spent in hours.items() if stage != "shadows")
    assert 0 < hours["shadows"] <= WORTH * others * 1.01
