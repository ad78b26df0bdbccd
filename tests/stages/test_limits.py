from pathlib import Path
from typing import Any

import pytest
from small_people import QUICK, manifest_of, small_people

from pd.cli.audits import audit
from pd.errors import LeakError, UserError
from pd.stages.limits import check_limits, parse_limits


def arm(excess: float, detectable: float | None = 0.01, like_holdout: float = 0.05) -> dict[str, Any]:
    power = {"blind": detectable is None, "words": "This audit could not have seen a leak.", "detectable": detectable}
    estimate = {"value": excess, "low": excess - 0.01, "high": excess + 0.01}
    nothing = {"value": 0.0, "high": 0.0}
    return {
        "reid": {
            "excess": estimate,
            "power": power,
            "by_attacker": {"thumbnails": {"like_holdout": {"value": like_holdout}}},
        },
        "extraction": {"excess": nothing, "copies": {"excess": nothing}},
        "attributes": {"hidden_half": {"advantage": {"value": 0.0}}},
    }


def test_a_figure_above_its_limit_is_a_leak() -> None:
    with pytest.raises(LeakError, match=r"excess is 0\.0300, above 0\.02") as caught:
        check_limits(arm(0.03), parse_limits(["excess=0.02"]))
    assert caught.value.exit_code == 3
    with pytest.raises(LeakError, match="excess_high"):
        check_limits(arm(0.015), parse_limits(["excess=0.02", "excess_high=0.02"]))
    assert check_limits(arm(0.015), parse_limits(["excess=0.02", "extraction=0"])) == []


def test_passing_says_when_it_means_little() -> None:
    assert "less than this audit finds" in check_limits(arm(0.0, 0.1), {"excess": 0.02})[0]
    with pytest.raises(UserError, match="could not have seen") as caught:
        check_limits(arm(0.0, None), {"excess": 0.02})
    assert caught.value.exit_code == 2


def test_samples_of_the_strangers_are_told_of_and_mean_nothing_where_lots_were_drawn() -> None:
    copied = arm(0.0, like_holdout=0.97)
    assert "97 % of the samples look like hold-out people" in check_limits(copied, {"excess": 0.02})[0]
    with pytest.raises(UserError, match="look like hold-out people"):
        check_limits(copied, {"excess": 0.02}, split_drawn=True)
    assert check_limits(arm(0.0), {"excess": 0.02}, split_drawn=True) == []


@pytest.mark.parametrize("limit", ["excess=0.02", "copies=0.02", "copies_high=0.1", "extraction=0", "hidden_half=0"])
def test_no_limit_is_kept_where_members_and_strangers_cancel_or_the_audit_is_blind(limit: str) -> None:
    with pytest.raises(UserError, match="look like hold-out people"):
        check_limits(arm(0.0, None, like_holdout=0.97), parse_limits([limit]), split_drawn=True)
    with pytest.raises(UserError, match="could not have seen"):
        check_limits(arm(0.0, None), parse_limits([limit]))


def test_a_limit_on_the_lower_end_asks_for_a_leak_that_is_found_whatever_its_size() -> None:
    assert check_limits(arm(0.005, 0.1), {"excess_low": 0.0}) == []
    assert check_limits(arm(0.005, 0.1), {"excess_high": 0.02}) != []


def test_members_were_drawn_by_lot_wherever_nobody_named_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest may lack the column `split`, as a folder does; then, too, samples that look like strangers pass no limit."""
    monkeypatch.setattr("pd.stages.limits._MOST", 0.1)
    people = small_people(tmp_path / "people")
    named = manifest_of(small_people(tmp_path / "named"), ",split", ",member")
    head, *rows = named.read_text().splitlines()
    named.write_text("\n".join([head, *(row.replace(",member", ",holdout") if "p0" in row else row for row in rows)]))
    for real in (people, manifest_of(people)):
        with pytest.raises(UserError, match="look like hold-out people"):
            audit(None, real, str(people), None, ["excess=1"], list(QUICK))
    audit(None, named, str(people), None, ["excess=1"], list(QUICK))


def test_what_was_not_measured_keeps_no_limit() -> None:
    unmeasured = arm(0.0) | {"extraction": {"why": "too few samples of each prompt"}}
    with pytest.raises(UserError, match="extraction was not measured: too few samples of each prompt"):
        check_limits(unmeasured, {"extraction": 0.02})


@pytest.mark.parametrize("text", ["exces=0.02", "excess", "excess=much", "excess=nan"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--fail-above"):
        parse_limits([text])
