"""What a check finds: all is well, or what to do; and checks that may not take for ever."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pd.errors import UserError


@dataclass(frozen=True)
class Finding:
    """One line of `pd doctor`.

    Attributes:
        check: what was looked at.
        state: `todo` makes the exit code 1; `left out` says that there was nothing to look at.
        says: what was found.
        fix: what to do about it.
    """

    check: str
    state: Literal["ok", "todo", "left out"]
    says: str
    fix: str = ""


def ok(check: str, says: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", says)


def todo(check: str, says: str, fix: str) -> Finding:
    """Something to mend."""
    return Finding(check, "todo", says, fix)


def left_out(check: str, says: str) -> Finding:
    """Nothing to look at."""
    return Finding(check, "left out", says)


def of_error(check: str, error: UserError) -> Finding:
    """An error of the user's as what to do about it."""
    return todo(check, f"{error.where}: {error.what}" if error.where else error.what, error.fix or "")


def bounded(check: str, look: Callable[[], list[Finding]], seconds: float) -> list[Finding]:
    """Look, but for no longer than so many seconds; what is not done by then is left behind in its thread.

    An error that was not foreseen is told by its kind alone: its text may hold names of people.
    """
    found: list[Finding] = []

    def work() -> None:
        try:
            found.extend(look())
        except UserError as error:
            found.append(of_error(check, error))
        except OSError as error:
            found.append(todo(check, error.strerror or type(error).__name__, "is it there, and may this user read it?"))
        except Exception as error:
            found.append(
                todo(check, f"could not be looked at ({type(error).__name__})", "`pd --debug` with the stage shows more")
            )

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return list(found) or [todo(check, f"no answer within {seconds:g} s", "is the network slow, or a firewall between?")]
