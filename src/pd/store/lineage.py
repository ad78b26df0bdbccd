"""What a finished stage was made from: settings, inputs, outputs. It decides whether the stage must run again, and says why."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pd.store.atomic import write_json


@dataclass(frozen=True)
class Record:
    """A finished stage.

    Attributes:
        stage: its name.
        settings: the flattened settings it depends on.
        inputs: digest of what each earlier stage handed over, by stage name.
        outputs: digest of each output, by path inside the run folder.
        sizes: bytes of each output.
        seconds: how long it took.
        facts: figures it reports (counts, thresholds, losses).
        versions: of the libraries that made it.
    """

    stage: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, str]
    sizes: dict[str, int]
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))


def read_record(path: Path) -> Record | None:
    """The record of a finished stage; None when there is none or it cannot be read (the stage then runs again)."""
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def why_stale(record: Record | None, settings: dict[str, Any], inputs: dict[str, str], root: Path) -> str | None:
    """Why a stage must run again, in words; None when its record still holds.

    Outputs are checked to be there with their recorded sizes (content is checked by `pd verify` and by shard checksums: hashing
    every byte at each start would take longer than the stages of a small run).
    """
    from pd.store.mirror import bytes_of

    if record is None:
        return "not done yet"
    changed = sorted(k for k in record.settings.keys() | settings.keys() if record.settings.get(k) != settings.get(k))
    if changed:
        key = changed[0]
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        return f"{key} changed from {record.settings.get(key)} to {settings.get(key)}{more}"
    for stage, digest in inputs.items():
        if record.inputs.get(stage) != digest:
            return f"what `{stage}` hands over changed"
    if gone := sorted(record.inputs.keys() - inputs.keys()):
        return f"`{gone[0]}` is no longer asked for"
    for name, size in record.sizes.items():
        held = bytes_of(root / name)
        if held is None:
            return f"{name} is gone"
        if held != size:
            return f"{name} was altered"
    return None
