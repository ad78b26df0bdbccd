"""The way in, and the way out: every error as one line and an exit code."""

import signal
import sys
import traceback
from pathlib import Path

from rich.console import Console

from pd.cli.app import app
from pd.errors import STOPPED, UserError
from pd.progress import printable, shown
from pd.store.atomic import keep_private


def main() -> None:
    """Entry point: one clear line for bad input (exit code 2), a traceback only with --debug."""
    keep_private()  # the workers that we start do, too
    debug = "--debug" in sys.argv
    if debug:
        sys.argv = [sys.argv[0], "--debug", *(word for word in sys.argv[1:] if word != "--debug")]
    signal.signal(signal.SIGTERM, _end)
    console = Console(stderr=True, highlight=False)
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except UserError as error:
        if debug:
            traceback.print_exc()
        _complain(console, str(error))
        sys.exit(error.exit_code)
    except OSError as error:  # a place that cannot be read or written, wherever it came up
        if debug:
            traceback.print_exc()
        _complain(console, f"{error.filename or 'a file'}: {error.strerror or type(error).__name__}")
        sys.exit(2)
    except Exception as error:
        if debug:
            raise
        if usage := getattr(error, "format_message", None):  # Typer's: an option or argument that does not fit
            command = getattr(getattr(error, "ctx", None), "command_path", "pd")
            _complain(console, f"{usage()} `{command} --help` shows what there is")
            sys.exit(2)
        # The text of an unforeseen error may hold captions or paths of people, so only its kind and place are shown.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        console.print(
            f"[bold red]pd:[/] {type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}; "
            "this is a fault of pd's. `--debug` shows the traceback",
            soft_wrap=True,
        )
        sys.exit(1)
    if code == STOPPED:  # as Typer reports Ctrl-C
        console.print("pd: stopped; the same command goes on from what is finished", soft_wrap=True)
    sys.exit(code or 0)


def _complain(console: Console, text: str) -> None:
    """One line, whatever control characters a name or a value brings along."""
    console.print(f"[bold red]pd:[/] {shown(printable(text))}", soft_wrap=True)


def _end(number: int, frame: object) -> None:
    """Leave by an exception, so that scratch folders with private images go too."""
    sys.exit(128 + number)
