"""What a running stage is given, and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pd.config import Settings
from pd.progress import Reporter
from pd.seeds import derive
from pd.store.run import Run

Facts = Mapping[str, Any]
"""Figures that a stage reports: JSON values, shown by `pd status` and kept in its record."""


@dataclass(frozen=True)
class Context:
    """What a running stage is given."""

    settings: Settings
    run: Run
    reporter: Reporter

    def seed(self, *names: str | int) -> int:
        """The seed of a named part of the run."""
        return derive(self.settings.seed, *names)
