"""A trial as Ray Tune runs it. Imported once Ray runs, and in its workers."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from pd.config import digest_of
from pd.store.atomic import keep_private
from pd.store.kept import keep_json, there


class RungTrial(tune.Trainable):  # type: ignore[misc]
    """Runs `work` rung by rung. Its actor is used for one trial after the other: to start another takes seconds."""

    def setup(
        self, config: dict[str, Any], work: Callable[..., Mapping[str, Any]], shared: Any, rungs: int, records: Path
    ) -> None:
        keep_private()
        self.work, self.shared, self.rungs, self.records = work, shared, rungs, records
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.tried, self.rung = new_config.get("trial", new_config), 0
        return True

    def step(self) -> dict[str, Any]:
        record = self.records / f"{digest_of([self.tried, self.rung])}.json"
        if not there(record):
            figures = self.work(self.shared, self.tried, self.rung)
            keep_json(record, {"config": self.tried, "rung": self.rung, "figures": dict(figures)})
        figures = json.loads(record.read_text(encoding="utf-8"))["figures"]
        self.rung += 1
        return {**figures, "done": self.rung == self.rungs}
