"""Where a training loop runs: in a Ray Train worker, or alone in this process for debugging."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import distributed

from pd.engine.shared_folder import in_bucket
from pd.engine.training.checkpoint import newest
from pd.store.kept import at_hand, discard, keep

SaveCheckpoint = Callable[[Path], None]
"""Writes this rank's part of a checkpoint into a folder; called by all ranks."""


_LOCAL, _RAYS = "local_*", "checkpoint_*"
"""Checkpoints of a training in this process, and Ray Train's (its `StorageContext` names them so)."""


class Worker(Protocol):
    """One rank of a training, and how it meets the others."""

    rank: int
    world: int
    device: torch.device

    def agree(self, value: Any) -> Any:
        """Rank 0's value (small and picklable), on every rank; a barrier that waits for as long as it takes."""

    def checkpoint(self, step: int, save: SaveCheckpoint) -> None:
        """Keep a checkpoint; it counts only once every rank's part is written. Older ones go."""

    def latest(self) -> Path | None:
        """The folder of the last checkpoint that counts."""

    def told_to_leave(self) -> bool:
        """Whether there is a new notice that a machine of ours will be taken away. All ranks ask, and get one answer."""


class RayWorker:
    """A rank of Ray Train's worker group.

    Args:
        folder: on shared storage, or the mirror of one; checkpoints are written there before Ray takes them over.
    """

    def __init__(self, folder: Path) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        self.device = ray.train.torch.get_device()
        self._folder = folder
        self._notice: Any = None
        # pd switches Ray's watcher off on a machine of its own; the environment is the same for all ranks.
        self._watched = os.environ.get("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "1") != "0"

    def agree(self, value: Any) -> Any:
        from ray.train.collective import broadcast_from_rank_zero

        return broadcast_from_rank_zero(value)

    def checkpoint(self, step: int, save: SaveCheckpoint) -> None:
        import ray.train

        part = self._folder / "partial" / f"{step}-{self.rank}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        save(part)
        ray.train.report({"step": step}, checkpoint=ray.train.Checkpoint(part), delete_local_checkpoint_after_upload=True)

    def latest(self) -> Path | None:
        import ray.train

        checkpoint = ray.train.get_checkpoint()
        if in_bucket(self._folder):
            if not checkpoint:
                return None
            held = self._folder / "partial" / f"resumed-{self.rank}"
            shutil.rmtree(held, ignore_errors=True)
            return Path(checkpoint.to_directory(held))
        # The storage is a mounted folder (`RunConfig.storage_path`), so the checkpoint can be read where it lies; as can what
        # this training left when it ran in a process of its own.
        found = [Path(checkpoint.path)] if checkpoint else []
        ours = newest([*found, *self._folder.glob(_LOCAL)]) if self.rank == 0 else None
        return self.agree(ours)  # type: ignore[no-any-return]

    def told_to_leave(self) -> bool:
        if not self._watched:
            return False
        import ray.train

        before, self._notice = self._notice, ray.train.get_preemption_info()
        return self._notice is not None and self._notice != before


class LocalWorker:
    """The only rank, in this process.

    Args:
        folder: for checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.rank, self.world = 0, 1
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._folder = folder
        if not distributed.is_initialized():
            # It stays for as long as the process: DeepSpeed remembers its groups and fails in a second one.
            os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed asks the environment
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            distributed.init_process_group(backend, init_method="tcp://127.0.0.1:0", rank=0, world_size=1)

    def agree(self, value: Any) -> Any:
        return value

    def checkpoint(self, step: int, save: SaveCheckpoint) -> None:
        part = self._folder / "partial" / str(step)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        save(part)
        old = self._kept()
        keep(part.rename(self._folder / f"local_{step:08d}"))
        discard(*old)

    def latest(self) -> Path | None:
        return newest([*at_hand(self._folder).glob(_LOCAL), *self._folder.glob(_RAYS)])

    def told_to_leave(self) -> bool:
        return False

    def _kept(self) -> list[Path]:
        return sorted(self._folder.glob(_LOCAL))
