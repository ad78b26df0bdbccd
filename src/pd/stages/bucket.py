"""Where a run at `s3://` and this machine's mirror of it are brought together: before a stage or command, and after it.

What a stage must keep while it works (shards, checkpoints) it keeps by `pd.store.kept`. On a disk nothing here does anything.
"""

from collections.abc import Iterable
from pathlib import Path

from pd.config import Settings
from pd.stages.graph import BY_NAME, STAGES, Stage
from pd.store.lineage import read_record
from pd.store.mirror import committed, committed_digest, pull, pull_all, push, refresh, remove
from pd.store.run import Run

EVENTS = "events.jsonl"  # in the run's work folder


def fetch_state(run: Run) -> None:
    """Fetch the records of finished stages, and what is small; of the rest only what there is. The bucket's word counts.

    A record without its outputs, or with others than it names, is none: its stage was being written when somebody was killed.
    """
    refresh(run.root)
    pull(run.private / ".stages", run.private / "settings.yaml", run.purged, run.sweep, run.fingerprints)
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


def fetch_audit(run: Run) -> None:
    """Fetch the figures of the audit."""
    pull(run.audit, run.release_audit)


def fetch_release(release: Path) -> None:
    """Fetch all that lies in a release folder, also what no stage put there."""
    pull_all(release)


def fetch_proof(run: Run) -> None:
    """Fetch what a release is proven by."""
    ledgers = (run.ledger, run.classifier_ledger)
    pull(run.dataset, run.labels, run.reid, run.filter_counts, run.teacher, run.private / "settings.yaml", *ledgers)


def commit_stage(stage: Stage, run: Run, settings: Settings) -> None:
    """Bring a finished stage's outputs into the bucket, and last its record, which makes it count."""
    remove(run.record(stage.name))
    commit_outputs(stage, run, settings)
    push(run.record(stage.name), run.private / "settings.yaml", run.work / EVENTS)


def commit_outputs(stage: Stage, run: Run, settings: Settings) -> None:
    """Bring the outputs alone, of what leaves no record."""
    push(*stage.outputs(run, settings))


def _digest(path: Path) -> str | None:
    return committed_digest(path) if committed(path) else None


def _outputs(stages: Iterable[str], run: Run, settings: Settings) -> list[Path]:
    return [path for name in stages for path in BY_NAME[name].outputs(run, settings)]
