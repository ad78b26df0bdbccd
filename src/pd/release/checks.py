"""What `pd verify` found: one line for each thing that was checked."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what must hold.
        ok: whether it does; None when it could not be checked because something was not given.
        detail: counts, and where a fault stands; never a caption, never pixels.
    """

    name: str
    ok: bool | None
    detail: str


@dataclass(frozen=True)
class VerifyReport:
    """All checks of a release.

    Attributes:
        checks: in the order they were made.
    """

    checks: list[Check]

    @property
    def ok(self) -> bool:
        """Nothing failed. Checks that could not be made do not count: see `skipped`."""
        return not self.failed

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.ok is False]

    @property
    def skipped(self) -> list[Check]:
        return [check for check in self.checks if check.ok is None]


def judge(name: str, faults: Sequence[str], well: str) -> Check:
    """A check that holds when there are no faults; the first three are named."""
    if not faults:
        return Check(name, True, well)
    more = f" (and {len(faults) - 3:,} more)" if len(faults) > 3 else ""
    return Check(name, False, "; ".join(faults[:3]) + more)
