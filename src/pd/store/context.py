"""What a running stage is given: the settings, the run's folder, and who is told."""

from dataclasses import dataclass

from pd.config import Settings
from pd.progress import Reporter
from pd.seeds import derive
from pd.store.run import Run


@dataclass(frozen=True)
class Context:
    """What a running stage is given."""

    settings: Settings
    run: Run
    reporter: Reporter

    def seed(self, *names: str | int) -> int:
        """The seed of a named part of the run."""
        return derive(self.settings.seed, *names)
