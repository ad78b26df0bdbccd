"""Trainings that were stopped, and which the settings as they are now would not resume."""

import json
from collections.abc import Iterator
from pathlib import Path

from pd.config import ModelSettings, flatten
from pd.engine.training.definition import counting
from pd.store.atomic import write_json

_SETTINGS = "settings.json"


def note_settings(folder: Path, settings: ModelSettings) -> None:
    """Leave beside a training's checkpoints what it is a training of; it goes when the training is finished."""
    write_json(folder / _SETTINGS, counting(settings))


def stopped_trainings(work: Path, settings: ModelSettings) -> Iterator[str]:
    """A line for each training in `work` that has other settings and was not finished: what differs, and how far it came."""
    now = flatten(counting(settings))
    for file in sorted(work.glob(f"*/{_SETTINGS}")):
        try:
            then = flatten(json.loads(file.read_text(encoding="utf-8")))
            steps = [json.loads(line)["step"] for line in (file.parent / "progress.jsonl").read_text("utf-8").splitlines()]
        except (OSError, ValueError, KeyError):
            continue
        changed = sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))
        if changed and steps:
            what = ", ".join(f"{key} was {then.get(key)}, now {now.get(key)}" for key in changed[:3])
            more = f" (and {len(changed) - 3} more)" if len(changed) > 3 else ""
            yield f"a training stopped at step {steps[-1]:,} is not gone on with: {what}{more}; it is in {file.parent}"
