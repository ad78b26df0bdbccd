"""Where a run at `s3://` and this machine's mirror of it are brought together: before a stage, after it, and for a look."""

from collections.abc import Iterable
from pathlib import Path

from pd.config import Settings
from pd.stages.graph import BY_NAME, STAGES, Stage
from pd.store.lineage import read_record
from pd.store.mirror import committed, committed_digest, pull, push, refresh, remove
from pd.store.run import Run

EVENTS = "events.jsonl"  # in the run's work folder


def fetch_state(run: Run) -> None:
    """Fetch the records of finished stages, and what is small; of the rest only what there is. The bucket's word counts.

    A record without its outputs, or with others than it names, is none: its stage was being written when somebody was killed.
    """
    refresh(run.root)
    pull(run.private / ".stages", run.private / "settings.yaml")
    if not (run.work / EVENTS).exists():  # of the same machine, it may have more to tell than when it was last brought there
        pull(run.work / EVENTS)
    for stage in STAGES:
        path = run.record(stage.name)
        files = committed(path)
        if files is None:
            return  # on a disk
        record = read_record(path) if files else None
        if record is None or any(_digest(run.root / name) != digest for name, digest in record.outputs.items()):
            path.unlink(missing_ok=True)


def fetch_needs(stage: Stage, run: Run, settings: Settings) -> None:
    """Fetch what a stage reads."""
    pull(*_outputs(stage.needs_in(settings), run, settings))


def commit_stage(stage: Stage, run: Run, settings: Settings) -> None:
    """Bring a finished stage's outputs into the bucket, and last its record, which makes it count."""
    remove(run.record(stage.name))
    push(*stage.outputs(run, settings))
    push(run.record(stage.name), run.private / "settings.yaml", run.work / EVENTS)


def _digest(path: Path) -> str | None:
    return committed_digest(path) if committed(path) else None


def _outputs(stages: Iterable[str], run: Run, settings: Settings) -> list[Path]:
    return [path for name in stages for path in BY_NAME[name].outputs(run, settings)]
