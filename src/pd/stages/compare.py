"""`pd compare`: the audits of several runs, found and read."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from pd.audit.estimate import Estimate
from pd.audit.results import AuditResult, load
from pd.config.mirrored import mirrored_run
from pd.errors import UserError
from pd.progress import printable
from pd.report.compare import MEASURES, Compared, compare
from pd.report.formatting import decimal, in_hundred
from pd.stages.bucket import fetch_audit
from pd.store.run import Run


def compare_runs(paths: Sequence[Path]) -> list[Compared]:
    """Read the audit of each run, and set their arms side by side.

    Args:
        paths: run folders, here or at `s3://`, or files that `pd audit --out` wrote.

    Raises:
        UserError: a folder is no run, or has no audit; a file is none.
    """
    paths = [mirrored_run(path) for path in paths]
    return compare({name: _read(path) for name, path in zip(_names(paths), paths, strict=True)})


def compare_table(rows: Sequence[Compared]) -> Group:
    """For a terminal: a table for each run, a measure a row and an arm a column; 80 columns hold five arms."""
    parts: list[RenderableType] = []
    for run in dict.fromkeys(row.run for row in rows):
        arms = [row for row in rows if row.run == run]
        table = Table(title=f"[bold]{_shown(run)}[/]", title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=0)
        table.add_column("", width=20)
        for row in arms:
            table.add_column(_shown(row.arm), justify="right", width=11, overflow="fold")
        for name, (heading, _) in MEASURES.items():
            table.add_row(heading, *(_told(row, name) for row in arms))
        table.add_row("Attacker", *(_shown(row.attacker) or "-" for row in arms))
        table.add_row("Samples", *("-" if row.samples is None else f"{row.samples:,}" for row in arms))
        parts += [table, ""]
    return Group(*parts, "[dim]below each figure: its 95 % interval[/]")


def _told(row: Compared, name: str) -> str:
    """A figure, and below it its interval in as few digits as tell it."""
    text, figure = row.cell(name)[0] or "-", row.figures.get(name)
    if not isinstance(figure, Estimate):
        return text
    short = in_hundred if MEASURES[name][1] == "percent" else partial(decimal, digits=2)
    return f"{text}\n[dim]{short(figure.low)}..{short(figure.high)}[/]"


def _names(paths: Sequence[Path]) -> list[str]:
    """The folders' own names; the paths as they were given where two are called alike.

    Raises:
        UserError: one was given twice.
    """
    whole = [path.resolve() for path in paths]
    twice = next((path for path, full in zip(paths, whole, strict=True) if whole.count(full) > 1), None)
    if twice is not None:
        raise UserError("the same run twice", code="bad-options", where=str(twice), fix="name each run once")
    names = [full.stem if full.suffix == ".json" else full.name for full in whole]
    return [str(path) if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)]


def _read(path: Path) -> AuditResult:
    fetch_audit(Run(path))
    if not path.exists():
        raise UserError("no such folder", code="no-such-folder", where=str(path), fix="name a run folder such as runs/faces")
    if path.is_dir():
        run = Run(path)
        if not run.private.is_dir() and not run.release.is_dir():
            raise UserError("no run in this folder", code="no-run", where=str(path), fix="name a run folder such as runs/faces")
        file = next((file for file in (run.audit, run.release_audit) if file.exists()), None)
        if file is None:
            raise UserError(
                "this run has no audit yet", code="no-audit", where=str(path), fix="run `pd audit` with its settings file first"
            )
        return load(file)
    return load(path)


def _shown(text: str) -> str:
    return escape(printable(text))
