"""The way in, and the way out: every error as one line and an exit code."""

import atexit
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from pd.cli.app import app
from pd.engine.ray_start import leave_ray
from pd.engine.submitted_job import lift_thread_limit
from pd.errors import STOPPED, UserError
from pd.progress import printable, shown
from pd.store.atomic import keep_private


def main() -> None:
    """Entry point: one clear line for bad input (exit code 2), a traceback only with --debug."""
    lift_thread_limit()
    keep_private()  # the workers that we start do, too
    debug = "--debug" in sys.argv
    words = [word for word in sys.argv[1:] if word != "--debug"]
    if debug:
        words = ["--debug", *words]
    signal.signal(signal.SIGTERM, stop)
    try:
        code = _run(words, debug)
    except SystemExit as left:  # of a command that has said all there is to say
        code = left.code if isinstance(left.code, int) else 1
    except KeyboardInterrupt:  # once more, while the first was on its way
        code = STOPPED
    leave(code)


def _unnamed() -> str:
    """What an error of the file system is about that names no file: most of all, where we stand."""
    try:
        os.getcwd()
    except OSError:
        return "the folder that this was started in"
    return "a file"


def _run(words: list[str], debug: bool) -> int:
    """Run a command, say in one line how it failed, and return the exit code."""
    console = Console(stderr=True, highlight=False)
    try:
        code = app(words or ["--help"], standalone_mode=False)
    except UserError as error:
        if debug:
            traceback.print_exc()
        _complain(console, str(error), error.code)
        return error.exit_code
    except OSError as error:  # a place that cannot be read or written, wherever it came up
        if debug:
            traceback.print_exc()
        _complain(console, f"{error.filename or _unnamed()}: {error.strerror or type(error).__name__}")
        return 2
    except Exception as error:
        if usage := getattr(error, "format_message", None):  # Typer's: an option or argument that does not fit
            if debug:
                traceback.print_exc()
            command = getattr(getattr(error, "ctx", None), "command_path", "pd")
            _complain(console, f"{usage()} `{command} --help` shows what there is")
            return 2
        if debug:
            traceback.print_exc()
            return 1
        # The text of an unforeseen error may hold captions or paths of people, so only its kind and place are shown.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        kept = getattr(error, "kept_in", None)
        more = f"the traceback, which may name people, is in {shown(str(kept))}" if kept else "`--debug` shows the traceback"
        console.print(
            f"[bold red]pd:[/] {type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}; "
            f"this is a fault of pd's. {more}",
            soft_wrap=True,
        )
        return 1
    if code == STOPPED:  # as Typer reports Ctrl-C
        console.print("pd: stopped; the same command resumes from what is finished", soft_wrap=True)
    return code or 0


def stop(number: int, frame: object) -> NoReturn:
    """What a signal to end does: as Ctrl-C, leave by an exception, so that scratch folders with private images go too."""
    raise KeyboardInterrupt


def leave(code: int) -> NoReturn:
    """End this process with `code`, whatever its threads are at.

    A thread that waits in Ray's core (in C++) aborts the process when Python or Ray is taken down under it, and the code would
    be that of the abort. So all that is registered to happen at the end does, but for Ray's part, and then nothing more.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(STOPPED))  # whoever asks once more does not want to wait
    leave_ray()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # whoever read it is gone
            code = code or 1
    os._exit(code)


def _complain(console: Console, text: str, code: str = "") -> None:
    """One line, whatever control characters a name or a value brings along; last the error's code, of docs/errors.md."""
    console.print(f"[bold red]pd:[/] {shown(printable(text))}{f' [dim]({code})[/]' if code else ''}", soft_wrap=True)
