"""What a user can do wrong. Every error names the bad value, where it stands, and the way to mend it."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pd.error_codes import Code

STOPPED = 130  # exit code of what somebody stopped, by Ctrl-C here or `ray job stop` there


class UserError(Exception):
    """Bad input. `pd` prints it as one line and exits with code 2; a traceback is shown only with `--debug`.

    Args:
        what: what was wrong, naming the bad value (never a caption, never pixels).
        code: the kind of error, one of `pd.error_codes`. It stays the same when the words change.
        where: the file, row or settings key it stands in.
        fix: what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, code: Code = "bad-value", where: str | None = None, fix: str | None = None) -> None:
        self.what, self.code, self.where, self.fix = what, code, where, fix
        head = f"{where}: {what}" if where else what
        super().__init__(f"{head}. {fix}" if fix else head)

    def __reduce__(self) -> tuple[object, tuple[type["UserError"], str, Code, str | None, str | None]]:
        # Ray pickles errors raised in workers; keyword-only arguments need help to survive that.
        return _rebuild, (type(self), self.what, self.code, self.where, self.fix)


class LeakError(UserError):
    """The release holds something private. `pd verify` and `pd run` exit with code 3."""

    exit_code = 3


class UndecidedError(UserError):
    """An audit that can neither show a leak nor rule it out. `pd audit --fail-above` exits with code 4."""

    exit_code = 4


def _rebuild(kind: type[UserError], what: str, code: Code, where: str | None, fix: str | None) -> UserError:
    return kind(what, code=code, where=where, fix=fix)


@contextmanager
def traceback_kept(file: Path) -> Iterator[None]:
    """Write the traceback of an unforeseen error to a file that is the owner's alone: it may hold captions and names.

    The error goes on, with the file's name as its `kept_in`.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        with suppress(OSError):
            with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
                traceback.print_exception(error, file=out)
            error.kept_in = file  # type: ignore[attr-defined]
        raise
