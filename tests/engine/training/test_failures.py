"""What is said of a training that Ray gave up."""

from pathlib import Path

import pytest
import torch
from ray.exceptions import RayActorError
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError, WorkerHealthCheckTimeoutError
from safetensors import SafetensorError

from pd.engine.training.failures import explained
from pd.errors import UserError


def test_workers_that_die_or_hang_too_often_are_one_clear_error(tmp_path: Path) -> None:
    others = RuntimeError("Connection closed by peer")  # what the death of one is to the rest
    died = WorkerHealthCheckFailedError("no answer", failure=RayActorError())
    for lost in (died, WorkerHealthCheckTimeoutError("no answer for minutes")):
        found = explained(WorkerGroupError("two failed", {0: others, 1: lost}), tmp_path)
        assert isinstance(found, UserError)
        assert "resumes from the last checkpoint" in str(found)
    assert isinstance(explained(RayActorError(), tmp_path), UserError)  # Ray Train's own controller


def test_what_the_user_did_wrong_and_what_we_did_stay_as_they_are(tmp_path: Path) -> None:
    mine = UserError("mine")
    assert explained(WorkerGroupError("one died of it", {0: mine, 1: RayActorError()}), tmp_path) is mine
    for ours in (WorkerGroupError("one failed", {0: AssertionError("ours")}), ControllerError(ValueError("ours"))):
        assert explained(ours, tmp_path) is ours


def test_a_disk_that_fills_is_told_as_such_whoever_wrote(tmp_path: Path) -> None:
    for full in (OSError(28, "No space left on device"), SafetensorError("Error: No space left on device (os error 28)")):
        found = explained(WorkerGroupError("one failed", {0: RayActorError(), 1: full}), tmp_path)
        assert str(found).startswith(f"{tmp_path}: cannot write: No space left on device. make room")


@pytest.mark.parametrize(
    "short",
    [
        torch.OutOfMemoryError("no room"),
        torch.AcceleratorError("CUDA error: out of memory"),  # no room for CUDA itself: somebody else has it
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_a_gpu_whose_memory_is_too_small_is_told_as_such(tmp_path: Path, short: RuntimeError) -> None:
    others = RuntimeError("Connection closed by peer")
    found = explained(WorkerGroupError("two failed", {0: others, 1: short}), tmp_path)
    assert isinstance(found, UserError)
    assert str(found).startswith("the training does not fit into the GPU's memory. set micro_batch lower")
