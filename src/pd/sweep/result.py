"""The end of a sweep: Pareto set, choice, and what is written of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pd.config import Settings
from pd.errors import UserError
from pd.store.atomic import write_folder, write_json
from pd.sweep.page import write_page
from pd.sweep.plot import draw
from pd.sweep.rule import Constraint, choose, missed, pareto
from pd.sweep.trial import Trial

Row = dict[str, Any]
"""A trial: `number`, `kind` (cheap or full), `steps`, what was tried, its figures, and `pareto`, `keeps`, `chosen`."""

_ATTRIBUTES = tuple(field.name for field in fields(Trial))


@dataclass(frozen=True)
class Result:
    """A finished sweep.

    Attributes:
        rows: every trial; of full ones each student that was trained.
        objectives: what the Pareto set is of.
        keeps: whether the chosen trial keeps the constraints.
        words: how it was chosen, and what that is worth.
        folder: `private/sweep`.
    """

    rows: Sequence[Row]
    objectives: Sequence[str]
    keeps: bool
    words: Sequence[str]
    folder: Path

    @property
    def chosen(self) -> Row:
        """The chosen trial."""
        return next(row for row in self.rows if row["chosen"])

    def require(self) -> None:
        """Raise UserError unless the constraints are kept."""
        if not self.keeps:
            fix = "loosen sweep.constraints, or hold out more people; chosen.yaml has the trial that misses them least"
            raise UserError("no trial keeps the constraints", code="no-trial", where=str(self.folder), fix=fix)


def conclude(rows: list[Row], settings: Settings, facts: Mapping[str, Any], folder: Path) -> Result:
    """Judge the trials and write `trials.parquet`, `sweep.json`, `chosen.yaml`, `sweep.png` and `sweep.html`.

    Where students were trained, the choice is among those of the most steps, for they are what is released.

    Args:
        rows: the trials, without verdict.
        settings: of the run; `sweep` has the rule.
        facts: what else `sweep.json` shall say.
        folder: `private/sweep`; it appears whole.
    """
    asked = settings.sweep
    constraints = [Constraint.parse(text) for text in asked.constraints]
    final = max((row["steps"] or 0 for row in rows), default=0)
    running = [row for row in rows if (row["steps"] or 0) == final]
    best = pareto(running, asked.objectives)
    choice = choose(running, constraints, asked.prefer, asked.objectives)
    for row in rows:
        row |= {"pareto": False, "keeps": missed(row, constraints) == 0, "chosen": False}
    for row, is_best in zip(running, best, strict=True):
        row["pareto"] = bool(is_best)
    chosen = running[choice.index]
    chosen["chosen"] = True
    words = [choice.words, *_worth(chosen, settings)]
    trial = Trial(**{name: chosen[name] for name in _ATTRIBUTES})
    with write_folder(folder) as target:
        pq.write_table(pa.Table.from_pylist([_typed(row) for row in rows]), target / "trials.parquet")
        told = {
            **facts,
            "rule": {"constraints": list(asked.constraints), "prefer": asked.prefer, "objectives": list(asked.objectives)},
            "keeps": choice.keeps,
            "words": words,
            "chosen": chosen,
            "pareto": [row for row in rows if row["pareto"]],
            "as_it_is": rows[0],
        }
        write_json(target / "sweep.json", told)
        (target / "chosen.yaml").write_text(_settings_file(trial, settings, words), encoding="utf-8")
        draw(rows, constraints, target / "sweep.png")
        write_page(rows, constraints, choice.keeps, [*words, str(facts["people"])], target / "sweep.html")
    return Result(rows, asked.objectives, choice.keeps, words, folder)


def _worth(chosen: Row, settings: Settings) -> list[str]:
    """What the chosen trial's figures are worth, and what they cost."""
    asked = settings.sweep
    figures = (asked.prefer, *asked.objectives, *(Constraint.parse(text).name for text in asked.constraints))
    same = ", but utility on all hold-out people, among them those who chose it"
    words = [
        "the best of many looks better than it is: these figures are from the people who chose it; the audit of a run with "
        f"these settings measures the leak on others{same if any(name.startswith('utility') for name in figures) else ''}"
    ]
    if chosen["kind"] == "cheap":
        words.append("excess and utility are of the kept candidates themselves, not of a student that learned from them")
    elif chosen["steps"] < settings.student.steps:
        steps = f"{chosen['steps']} of {settings.student.steps} steps"
        words.append(f"its student learned for {steps}: who learns longer remembers more")
    changed = [key for key in ("prompt_k", "guidance", "candidates") if chosen[key] != getattr(settings.generate, key)]
    if changed:
        again = "the teacher is trained and candidates are made" if "prompt_k" in changed else "candidates are made"
        words.append(f"it changes {' and '.join(f'generate.{key}' for key in changed)}: with it, {again} again")
    return words


def _settings_file(trial: Trial, settings: Settings, words: Sequence[str]) -> str:
    """The settings with the trial in them, as `pd run` takes them."""
    head = "".join(f"# {line}\n" for line in ("Chosen by pd sweep.", *words))
    return head + str(yaml.safe_dump(trial.apply(settings).model_dump(mode="json"), sort_keys=False))


def _typed(row: Row) -> Row:
    """Counts as floats where they may be empty, so that columns have one type."""
    return {name: float(value) if isinstance(value, int) and name == "steps" else value for name, value in row.items()}
