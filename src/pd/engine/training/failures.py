"""Why a training on Ray ended without its model, in words for whoever started it."""

from pathlib import Path

from pd.config.mirrored import as_written
from pd.engine.runtime import unwrap, wrapped
from pd.errors import UserError
from pd.store import s3
from pd.store.atomic import disk_error


def explained(error: BaseException, folder: Path) -> BaseException:
    """What to raise for an error that came out of Ray Train.

    Args:
        error: Ray's.
        folder: the training's.

    Returns:
        The UserError that a worker raised, if one did; one of ours when Ray could not bring a checkpoint to the bucket, a GPU's
        memory or the disk is full, or workers died or hung more often than they are started again; else the error itself, a
        fault of ours.
    """
    from ray.exceptions import NodeDiedError, RayActorError
    from ray.train.v2._internal.exceptions import WorkerHealthCheckTimeoutError

    lost = (RayActorError, NodeDiedError, WorkerHealthCheckTimeoutError)
    if found := unwrap(error):
        return found
    if short := out_of_memory(error):
        return short
    if told := s3.explained(str(error)):
        return UserError(told[0], code="storage-failed", where=as_written(folder), fix=told[1])
    if full := next(filter(None, (disk_error(found, folder) for found in wrapped(error))), None):
        return full
    if any(isinstance(found, lost) for found in wrapped(error)):
        return UserError(
            "workers died or hung again and again while they trained",
            code="lost-workers",
            fix="look for a machine short of memory, or storage that hangs; set micro_batch lower; "
            "the same command resumes from the last checkpoint",
        )
    return error


def out_of_memory(error: BaseException) -> UserError | None:
    """What to say where a GPU's memory was too small for a training; None when `error` is, and holds, nothing of the kind."""
    if not any(_is_short(found) for found in wrapped(error)):
        return None
    return UserError(
        "the training does not fit into the GPU's memory",
        code="out-of-memory",
        fix="set micro_batch lower or to auto, gradient_checkpointing: true or offload: optimizer, and the same command goes "
        "on from the last checkpoint; or set precision: bf16, adapter: lora, or a smaller data.size",
    )


def _is_short(error: BaseException) -> bool:
    # Torch's allocator has an error of its own; CUDA's and cuBLAS's are told from others by their words.
    words = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or any(word in str(error) for word in words)
    )
