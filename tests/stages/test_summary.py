"""The table that closes `pd run`."""

import json
from pathlib import Path

from rich.console import Console

from pd.stages.summary import summary_table
from pd.store.run import Run


def test_what_is_released_is_named_and_judged(tmp_path: Path) -> None:
    reid = {"attacker": "imagenet", "excess": {"value": 0.0, "low": -0.1, "high": 0.1, "n": 9}}
    copies = {"copies": {"excess": {"value": 0.2, "low": 0.1, "high": 0.3, "n": 9}}}
    arms = {"filtered": {"n": 9, "reid": reid}, "kept": {"n": 5, "reid": reid, "extraction": copies}, "teacher": {"reid": reid}}
    run = Run(tmp_path)
    run.release.mkdir()
    run.release_audit.write_text(json.dumps({"arms": arms, "filter": {"kept": 5, "candidates": 9, "dropped": {"reid": 4}}}))
    console = Console(width=120, record=True)
    console.print(summary_table(run))
    lines = console.export_text().splitlines()
    assert [line.split()[1] for line in lines if "imagenet" in line] == ["teacher", "filtered", "kept"]
    assert sum("(released)" in line for line in lines) == 2
    said = " ".join(" ".join(lines).split())
    assert (
        "The released data still give people away: by extraction; no leak is shown in the released student by the one" in said
    )
