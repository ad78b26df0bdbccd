"""`pd compare` as a user meets it."""

import json

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pd.audit.results import AuditResult
from pd.cli import app
from pd.errors import UserError
from pd.report.compare import compare
from pd.stages.compare import compare_runs, compare_table

AUDIT = {
    "arms": {"filtered": {"n": 9, "reid": {"attacker": "[red]x", "excess": {"value": 0.1, "low": 0.0, "high": 0.2, "n": 9}}}},
    "filter": {"candidates": 4, "kept": 1},
}


@pytest.fixture
def runs(tmp_path):
    for place, side in (("a/run", "private"), ("b/run", "release")):
        folder = tmp_path / place / side
        folder.mkdir(parents=True)
        (folder / "audit.json").write_text(json.dumps(AUDIT))
    return [tmp_path / "a" / "run", tmp_path / "b" / "run"]


def test_table_json_and_page(runs, tmp_path):
    asked = ["compare", *map(str, runs)]
    table = CliRunner().invoke(app, asked, env={"COLUMNS": "200"}).stdout
    assert "10.0 %" in table
    assert "25.0 %" in table
    assert "[red]x" in table  # shown, not obeyed
    page = tmp_path / "new" / "compare.html"
    told = CliRunner().invoke(app, [*asked, "--json", "--html", str(page)])
    rows = json.loads(told.stdout)["rows"]
    assert [row["run"] for row in rows] == list(map(str, runs))  # of one name: told apart by their paths
    assert rows[0]["excess"] == {"value": 0.1, "low": 0.0, "high": 0.2}
    assert "<title>Comparison of" in page.read_text()


def test_80_columns_hold_five_arms():
    arms = ("teacher", "filtered", "kept", "random_drop", "unfiltered")
    copies = {"excess": {"value": 0.0431, "low": 0.0212, "high": 0.2755, "n": 9}}
    entry = {**AUDIT["arms"]["filtered"], "extraction": {"copies": copies}, "n": 1024}
    with (console := Console(width=80)).capture() as captured:
        console.print(compare_table(compare({"run": AuditResult.model_validate({"arms": dict.fromkeys(arms, entry)})})))
    lines = captured.get().splitlines()
    assert any(all(arm in line for arm in arms) for line in lines)
    (told,) = (line for line in lines if line.startswith("Copies"))
    assert told.split() == ["Copies", *["4.3", "%"] * 5]
    assert any(line.split() == ["2.1..28"] * 5 for line in lines)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({}, "no such folder"),
        ({"run/x.txt": "x"}, "no run in this folder"),
        ({"run/private/settings.yaml": ""}, "this run has no audit yet"),
        ({"run/private/audit.json": "{"}, "this is no audit"),
        ({"run/private/audit.json": "[1]"}, "this is no audit"),
        ({"run": "\x80"}, "this is no audit"),
    ],
)
def test_what_is_no_run_is_said_in_one_line(made, said, tmp_path):
    for name, text in made.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=said) as error:
        compare_runs([tmp_path / "run"])
    assert "\n" not in str(error.value)


def test_the_same_run_twice_is_refused(runs):
    with pytest.raises(UserError, match="twice"):
        compare_runs([runs[0], runs[0]])
