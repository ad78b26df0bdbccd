import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pd.config import Settings, load_settings, parse_settings
from pd.errors import UserError
from pd.sweep.result import Result, conclude
from pd.sweep.table import lines, sweep_table, worth_showing
from pd.sweep.trial import Trial, draw_trials

SETTINGS = parse_settings({}, ["sweep.trials=6", "name=mine"])


def rows(settings: Settings = SETTINGS) -> list[dict[str, Any]]:
    """Six trials: the more is kept the more leaks; the last keeps nothing."""
    made = []
    for number, trial in enumerate(draw_trials(settings)):
        kept = [0.5, 0.1, 0.3, 0.25, 0.9, 0.0][number]
        excess = None if not kept else kept**2
        spread = {"excess_low": excess and excess - 0.02, "excess_high": excess and excess + 0.02}
        figures = {"kept": kept, "excess": excess, **spread, "coverage": 1 - kept / 2, "balance": None, "attacker": "whitened"}
        nothing = dict.fromkeys(("utility", "utility_low", "utility_high"))
        made.append({"number": number, "kind": "cheap", "steps": None, **asdict(trial), **figures, **nothing})
    return made


def concluded(folder: Path, *sets: str) -> Result:
    settings = parse_settings(SETTINGS.model_dump(mode="json"), sets)
    return conclude(rows(), settings, {"people": "some & others <b>"}, folder / "sweep")


def test_the_chosen_settings_are_what_pd_run_takes(tmp_path: Path) -> None:
    result = concluded(tmp_path)
    assert result.keeps
    assert result.chosen["number"] == 3  # 0.0825 at the most, the other one 0.11
    chosen = load_settings(result.folder / "chosen.yaml")
    assert chosen == draw_trials(SETTINGS)[3].apply(SETTINGS)
    assert chosen.reid.calibration.quantile == result.chosen["reid_quantile"]
    result.require()


def test_what_is_written_of_a_sweep(tmp_path: Path) -> None:
    result = concluded(tmp_path)
    table = pq.read_table(result.folder / "trials.parquet")
    assert table.num_rows == 6
    assert table["pareto"].to_pylist() == [True, True, True, True, True, False]
    assert table["chosen"].to_pylist().index(True) == 3
    told = json.loads((result.folder / "sweep.json").read_text())
    assert told["chosen"]["number"] == 3
    assert told["as_it_is"]["number"] == 0
    assert told["rule"] == {
        "constraints": ["excess_high <= 0.1", "kept >= 0.2"],
        "objectives": ["excess", "kept", "coverage"],
        "prefer": "kept",
    }
    page = (result.folder / "sweep.html").read_text()
    assert "Some &amp; others &lt;b&gt;" in page
    assert "data:image/png;base64," in page
    assert (result.folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert {path.stat().st_mode & 0o077 for path in result.folder.iterdir()} == {0}


@pytest.mark.parametrize(
    "rule", ["prefer=utility", 'constraints=["utility_low >= 0.6"]', 'objectives=["utility", "kept"]', None]
)
def test_it_is_said_where_the_audit_tests_on_those_who_chose(rule: str | None, tmp_path: Path) -> None:
    (worth,) = (line for line in concluded(tmp_path, *([f"sweep.{rule}"] if rule else [])).words if "looks better" in line)
    assert "measures the leak on others" in worth
    assert ("utility on all hold-out people, among them those who chose it" in worth) == (rule is not None)


def test_where_no_trial_will_do_the_least_bad_one_is_given_and_it_is_said(tmp_path: Path) -> None:
    result = concluded(tmp_path, 'sweep.constraints=["excess_high <= 0.01", "kept >= 0.2"]')
    assert not result.keeps
    assert result.chosen["number"] == 3
    assert "none of 6 trials keeps excess_high <= 0.01 and kept >= 0.2" in result.words[0]
    assert (result.folder / "chosen.yaml").read_text().startswith("# Chosen by pd sweep.\n# none of 6")
    assert "No trial keeps the constraints" in (result.folder / "sweep.html").read_text()
    with pytest.raises(UserError, match="no trial keeps the constraints"):
        result.require()


def test_students_decide_where_there_are_any(tmp_path: Path) -> None:
    trial = Trial(0.7, 0.8, "both", "any", 5, 1.0, 3072)
    full = {**rows()[2], **asdict(trial), "kind": "full", "number": 0}
    safe = {"excess": 0.0, "excess_low": 0.0, "excess_high": 0.01}
    both = [*rows(), {**full, **safe, "steps": 50, "kept": 0.9}, {**full, **safe, "steps": 100}]
    result = conclude(both, SETTINGS, {"people": "some"}, tmp_path / "sweep")
    assert (result.chosen["kind"], result.chosen["steps"]) == ("full", 100)
    assert result.words[-1].startswith("it changes generate.prompt_k: with it, the teacher is trained")
    assert load_settings(result.folder / "chosen.yaml").generate.prompt_k == 5
    assert "its student learned for 100 of 900 steps: who learns longer remembers more" in result.words
    assert not any("not of a student" in line for line in result.words)


def test_the_table_has_what_matters(tmp_path: Path) -> None:
    result = concluded(tmp_path)
    shown = worth_showing(result.rows)
    assert [row["number"] for row in shown] == [3, 0, 4, 2, 1]
    with (console := Console(width=80)).capture() as captured:
        console.print(sweep_table(result.rows))
    assert "utility" in captured.get()  # no column is cut off
    headings, body = lines(shown)
    assert headings == [
        "", "no.", "re-id\nquantile", "near-copy\nquantile", "detectors", "kept", "excess", "coverage", "balance", "utility",
    ]  # fmt: skip
    assert {len(line) for line in body} == {len(headings)}
    assert [line[0] for line in body] == ["chosen", "as it is", "Pareto", "Pareto", "Pareto"]
    assert (body[0][5], body[0][7:]) == ("0.250", ["0.875", "-", "-"])
    assert body[1][2] == "as it is"
    assert sweep_table(result.rows).row_count == 5
    assert [row["number"] for row in worth_showing(result.rows, most=2)] == [3, 0, 4, 1]
