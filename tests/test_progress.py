import io

import pytest
from rich.console import Console

from pd import progress
from pd.progress import Reporter, shown


def test_long_tasks_write_lines_and_short_ones_none(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    reporter = Reporter(Console(file=out, width=200))
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with reporter.task("teacher") as tell:
        for second in range(30):
            now[0] = float(second)
            tell(second, 60, {"loss": 0.123456, "phase": "training"})
    lines = out.getvalue().splitlines()
    assert lines[0] == "  teacher: 2/60 after 0:02, 0:58 left  loss 0.1235  phase training"
    assert len(lines) == 3  # at 2, 12 and 22 seconds


def test_markup_in_what_is_told_is_shown_and_not_obeyed() -> None:
    out = io.StringIO()
    Reporter(Console(file=out, width=200)).say("[red]caption[/red] [link=x]y[/link]")
    assert out.getvalue() == "[red]caption[/red] [link=x]y[/link]\n"


def test_a_terminal_gets_a_bar() -> None:
    out = io.StringIO()
    reporter = Reporter(Console(file=out, width=120, force_terminal=True))
    with reporter.task("teacher") as tell:
        tell(3, 9, {"note": "[b]x"})
    assert "teacher" in out.getvalue()


def test_words_from_data_are_shown_and_not_obeyed():
    out = io.StringIO()
    Console(file=out, width=80).print(shown("\x1b[31m[red]a[/]\u202eb\nc"))
    assert out.getvalue() == "?[31m[red]a[/]?b\nc\n"
