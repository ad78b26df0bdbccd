"""One progress view for whatever takes long: a live bar on a terminal, plain lines elsewhere (logs, `ray job logs`)."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.progress import Task as Bar
from rich.table import Column
from rich.text import Text

from pd.config.mirrored import in_words
from pd.events import event

Progress = Callable[[int, int, Mapping[str, object]], None]
"""Called as progress(done, total, info); info holds a few figures worth watching, never captions or pixels."""

_LATEST: "list[Reporter]" = []  # the command's, if it has one
LINE_EVERY = 10.0  # seconds between plain lines


def silent(done: int, total: int, info: Mapping[str, object]) -> None:
    """The progress of callers that do not watch."""


def printable(text: str) -> str:
    """Text for one line of a terminal: what could move the cursor or change colours is shown as ?.

    Places in a mirror are shown as what they mirror, `s3://bucket/prefix`.
    """
    return "".join(letter if letter.isprintable() else "?" for letter in in_words(text))


def shown(text: str) -> str:
    """Text for a table or a line that rich prints: neither markup nor control characters in it are obeyed."""
    return escape("\n".join(map(printable, text.split("\n"))))


def notice(text: str) -> None:
    """One line for whoever waits, from where no reporter is at hand; above the bar, where there is one."""
    (_LATEST[-1] if _LATEST else Reporter()).say(f"  {text}")


class Reporter:
    """Shows what is going on. One per command."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False)
        _LATEST[:] = [self]

    def say(self, text: str) -> None:
        """Print one line; markup and control characters in it are shown, not obeyed."""
        self.console.print(shown(printable(text)), soft_wrap=True)

    @contextmanager
    def task(self, name: str) -> Iterator[Progress]:
        """Yield the progress callback of one task; what it is told is recorded, too (`pd.events`)."""
        with self._shown(name) as show:
            yield _Recorded(name, show)

    @contextmanager
    def _shown(self, name: str) -> Iterator[Progress]:
        if self.console.is_terminal:
            with Bars(
                TextColumn("{task.description:>12}"),
                BarColumn(bar_width=8, table_column=Column(no_wrap=True)),
                MofNCompleteColumn(table_column=Column(no_wrap=True)),
                TimeElapsedColumn(table_column=Column(no_wrap=True)),
                TimeRemainingColumn(table_column=Column(no_wrap=True)),
                _Figures(),
                console=self.console,
                transient=True,
            ) as bars:
                bar = bars.add_task(name, total=None, info="")

                def draw(done: int, total: int, info: Mapping[str, object]) -> None:
                    bars.update(bar, completed=done, total=total or None, info=printable(_words(info)))

                yield draw
        else:
            yield _Lines(self, name)


class _Figures(ProgressColumn):
    """What is worth watching, on one line. It alone is cut where the terminal is too narrow, at its end."""

    def render(self, task: Bar) -> Text:
        return Text(task.fields["info"], no_wrap=True, overflow="ellipsis")


class _Recorded:
    """Passes progress on, and records it every LINE_EVERY seconds and at the end."""

    def __init__(self, name: str, show: Progress) -> None:
        self.name, self.show, self.due = name, show, time.monotonic()

    def __call__(self, done: int, total: int, info: Mapping[str, object]) -> None:
        now = time.monotonic()
        if now >= self.due or 0 < total == done:
            self.due = now + LINE_EVERY
            event("progress", **{**info, "task": self.name, "done": done, "total": total})
        self.show(done, total, info)


class _Lines:
    """Prints at most one line every LINE_EVERY seconds, the first after two seconds."""

    def __init__(self, reporter: Reporter, name: str) -> None:
        self.reporter, self.name = reporter, name
        self.begin = time.monotonic()
        self.due = self.begin + 2.0

    def __call__(self, done: int, total: int, info: Mapping[str, object]) -> None:
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + LINE_EVERY
        left = (now - self.begin) / done * (total - done) if done and total else None
        eta = f", {_clock(left)} left" if left is not None else ""
        of = f"{done}/{total}" if total else str(done)
        self.reporter.say(f"  {self.name}: {of} after {_clock(now - self.begin)}{eta}  {_words(info)}".rstrip())


def _words(info: Mapping[str, object]) -> str:
    return "  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in info.items())


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
