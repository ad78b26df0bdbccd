from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_people import QUICK, small_people

from pd.audit.estimate import Estimate
from pd.audit.figures import NotMeasured
from pd.audit.results import ArmResult, BestMatch, BestMatches, Extraction
from pd.cli.audits import audit
from pd.errors import LeakError, UserError
from pd.report.gate import against, would_tell
from pd.stages.limits import Gate, judge_limits, parse_limits
from pd.stages.summary import measures_table


def figure(value: float, half: float = 0.01, n: int = 600) -> Estimate:
    return Estimate(value, value - half, value + half, n)


def arm(excess: float, half: float = 0.01, *, blind: bool = False, like_holdout: float = 0.05, **reid: Any) -> ArmResult:
    power = {"blind": blind, "words": "This audit could not have found a leak." if blind else "It would have found copies."}
    nothing = figure(0.0)
    tree = {
        "reid": {
            "excess": figure(excess, half),
            "main": figure(0.05),
            "control": figure(0.05),
            "toward_holdout": figure(-excess, half),
            "power": power,
            "by_attacker": {"thumbnails": {"like_holdout": figure(like_holdout)}},
            **reid,
        },
        "extraction": {"excess": nothing, "copies": {"excess": nothing}},
        "attributes": {"hidden_half": {"advantage": nothing}},
    }
    return ArmResult.model_validate(tree)


def outcome(found: ArmResult, *limits: str, split_drawn: bool = False) -> str:
    return judge_limits(found, parse_limits(limits), split_drawn=split_drawn).outcome


def test_an_interval_above_a_limit_is_a_leak_below_it_clear_and_around_it_neither() -> None:
    assert [against(figure(value), 0.03) for value in (0.05, 0.025, 0.01)] == ["leak", "cannot tell", "clear"]
    assert outcome(arm(0.05), "excess=0.03") == "leak"
    assert outcome(arm(0.025), "excess=0.03") == "cannot tell"
    assert outcome(arm(0.01), "excess=0.03") == "clear"
    assert outcome(arm(0.01), "excess=0.03", "copies=0.005") == "cannot tell"  # the worst of all limits
    assert outcome(arm(0.05)) == "clear"  # nothing was asked


@pytest.mark.parametrize(("kind", "code"), [("leak", 3), ("cannot tell", 4)])
def test_exit_codes(kind: Any, code: int) -> None:
    with pytest.raises(UserError) as caught:
        Gate(kind, []).check()
    assert caught.value.exit_code == code
    Gate("clear", []).check()


def test_a_lower_end_asks_only_that_no_leak_is_shown() -> None:
    assert outcome(arm(0.025), "excess_low=0.03") == "clear"
    assert outcome(arm(0.05), "excess_low=0.03") == "leak"
    assert outcome(arm(0.025), "excess_high=0.03") == "cannot tell"


def test_what_would_tell_is_said() -> None:
    lines = judge_limits(arm(0.025), parse_limits(["excess=0.03"])).lines
    assert "cannot tell" in lines[1]
    assert "would tell, if the figure stays the same" in lines[1]
    # Half an interval of 0.02 must become the gap of 0.01: four times as many of all.
    assert "4.0 times as many people" in would_tell(figure(0.02, 0.02), 0.03)
    assert "no audit of a sensible size" in would_tell(figure(0.0299, 0.02), 0.03)
    # Rates of 0.05 among 600 samples: half an interval of 0.0247 by the samples alone, which four times as many halve.
    alone = 1.96 * (2 * 0.05 * 0.95 / 600) ** 0.5
    assert "About 2,4" in would_tell(figure(0.03 - alone / 2, alone), 0.03, arm(0))


def test_samples_that_know_the_holdout_people_are_a_leak_of_these() -> None:
    swapped = arm(-0.22)
    assert outcome(swapped, "excess=0.03") == "leak"
    assert "know the hold-out people" in judge_limits(swapped, {}).lines[0]
    assert outcome(swapped, "excess=0.03", split_drawn=True) == "cannot tell"


def test_samples_that_look_like_strangers_and_members_alike_are_not_cleared() -> None:
    copied = arm(0.0, like_holdout=0.97)
    assert outcome(copied, "excess=0.03") == "cannot tell"
    assert "97 % of the samples look like hold-out people" in judge_limits(copied, {}).lines[0]
    assert "`split` column" in judge_limits(copied, {}, split_drawn=True).lines[0]


def test_samples_unlike_anything_and_blind_audits_cannot_tell() -> None:
    assert outcome(arm(0.0, says_nothing="The samples are like nobody."), "excess=0.03") == "cannot tell"
    assert outcome(arm(0.05, says_nothing="The samples are like nobody."), "excess=0.03") == "leak"
    assert outcome(arm(0.0, blind=True), "hidden_half=0.03") == "cannot tell"


def test_the_command_says_the_verdict_first_and_ends_by_the_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people = small_people(tmp_path / "people", people=60, each=2)
    with pytest.raises(LeakError):  # half of the samples are members' pictures
        audit(real=str(people), synthetic=str(people), fail_above=["excess=0.03"], set_=list(QUICK))
    said = capsys.readouterr().out
    assert said.startswith("Verdict: leak.")
    assert "The audit does not surely catch copies that are" in said


def test_what_was_not_measured_cannot_tell_and_hides_no_leak() -> None:
    unmeasured = {"extraction": Extraction(why="too few samples of each prompt")}
    gate = judge_limits(arm(0.0).model_copy(update=unmeasured), {"extraction": 0.02})
    assert gate.outcome == "cannot tell"
    assert "it was not measured: too few samples of each prompt" in gate.lines[-1]
    gate = judge_limits(arm(0.5).model_copy(update=unmeasured), {"extraction": 0.02, "excess": 0.03})
    assert gate.outcome == "leak"


def test_of_two_limits_for_one_figure_the_stricter_counts() -> None:
    assert parse_limits(["excess=0.01", "excess=0.5"]) == parse_limits(["excess=0.5", "excess=0.01"]) == {"excess": 0.01}


def test_best_matches_that_name_members_are_a_leak_without_any_limit() -> None:
    named = Estimate(0.3, 0.2, 0.41, 100)
    match = BestMatch(auc=Estimate(0.8, 0.7, 0.9, 100), tpr_at_1=named)
    found = arm(0.0).model_copy(update={"best_match": BestMatches(single=match)})
    gate = judge_limits(found, {})
    assert gate.lines[0].startswith("Verdict: leak.")
    assert "30 in 100 members' pictures named" in gate.lines[0]
    assert judge_limits(found, {"best_match": 0.05}).outcome == "leak"


def test_best_matches_among_few_strangers_are_not_measured_and_no_auc_stands_in_for_them() -> None:
    few = NotMeasured(why="16 hold-out images; a false positive rate of 1 % needs 100")
    match = BestMatch(auc=Estimate(0.5, 0.4, 0.6, 100), tpr_at_1=few)
    found = arm(0.0).model_copy(update={"best_match": BestMatches(single=match, averaged=match)})
    gate = judge_limits(found, {"best_match": 0.05})
    assert gate.outcome == "cannot tell"
    assert "it was not measured: 16 hold-out images" in gate.lines[-1]
    console = Console(width=200)
    with console.capture() as captured:
        console.print(measures_table(found))
    (row,) = [line for line in captured.get().splitlines() if "named by best match" in line]
    assert "0.500" not in row
    assert "16 hold-out images" in row


def test_of_few_people_it_is_said_how_many_would_tell_and_nothing_is_cleared() -> None:
    wide = arm(0.0, 0.6)
    assert "About" not in would_tell(figure(0.0299, 0.6), 0.03)
    assert "400 times as many, members and hold-out" in would_tell(figure(0.0, 0.6), 0.03)
    assert judge_limits(wide, {}).lines[0].startswith("Verdict: cannot tell. With 95 % confidence between none and 60 in 100")
    assert judge_limits(arm(0.0, 0.4), {}).lines[0].startswith("Verdict: no leak is shown")


def test_the_verdict_names_the_disguises_that_the_audit_hardly_catches() -> None:
    planted = {"framed": figure(0.97), "blurred to an eighth": figure(0.25)}
    for one in (arm(0.0), arm(0.2), arm(0.0, blind=True)):
        (line,) = judge_limits(one, {}, planted=planted).lines
        assert "does not surely catch copies that are blurred to an eighth (25)" in line
        assert "framed" not in line
    assert "surely" not in judge_limits(arm(0.0), {}, planted={"framed": figure(0.97)}).lines[0]


@pytest.mark.parametrize("text", ["exces=0.02", "excess", "excess=much", "excess=nan", "excess=3", "excess=1", "copies=-0.1"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--fail-above"):
        parse_limits([text])
