"""Settings of what is released."""

from typing import Literal

from pydantic import Field

from pd.config.base import Section


class ReleaseSettings(Section):
    """What goes from `private/` into `release/`, once the audit is done: the student, and data beside it."""

    data: Literal["kept", "student", "none"] = Field(
        "kept",
        description="kept: candidates that the filter kept; student: samples of the student that passed it, too; none",
    )
    accept_leak: bool = Field(
        False, description="release also what the audit's verdict calls a leak; the card says that this was accepted"
    )
