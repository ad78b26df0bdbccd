"""How many images go through the model at once: as many as the GPU's memory holds."""

from collections.abc import Iterator

import torch
from torch import distributed

from pd.config import ModelSettings
from pd.diffusion.denoiser import Denoiser
from pd.engine.runtime import split_batch
from pd.engine.training.engine import bucket
from pd.engine.training.partition import stage_of
from pd.errors import UserError

_FLOAT = 4  # bytes


def find_micro_batch(denoiser: Denoiser, settings: ModelSettings, world: int, device: torch.device) -> int:
    """Images per forward on this rank, the same on every rank. All ranks call it, before there is an optimiser.

    It is the settings' number or a worker's share of the batch; with `micro_batch: auto`, on a GPU, the largest divisor of
    that share whose forward and backward fit on every rank. Any divisor gives the same weights but for rounding.

    Args:
        denoiser: is moved to the device, and is otherwise as before: weights, gradients and random state.
        settings: batch, micro_batch, and what decides how much memory training takes.
        world: ranks.
        device: of this rank.

    Raises:
        UserError: not even one image fits; or a batch that does not divide evenly.
    """
    share = split_batch(settings, world)
    if settings.micro_batch != "auto" or device.type == "cpu":
        return share
    return largest_that_fits(denoiser, settings, share, world, device)


def largest_that_fits(denoiser: Denoiser, settings: ModelSettings, share: int, world: int, device: torch.device) -> int:
    """The largest divisor of `share` that fits on every rank, found from above: the first one that fits is it.

    Raises:
        UserError: not even one image fits, on some rank.
    """
    mine = next((rows for rows in _divisors(share) if _fits(denoiser, settings, rows, world, device)), 0)
    if world > 1:
        smallest = torch.tensor(mine, device=device)
        distributed.all_reduce(smallest, distributed.ReduceOp.MIN)
        mine = int(smallest)
    if mine == 0:
        raise UserError(
            "not even one image and its gradients fit into the GPU's memory",
            code="out-of-memory",
            where="micro_batch = auto",
            fix="set gradient_checkpointing: true, precision: bf16, adapter: lora, offload: optimizer, or a smaller data.size",
        )
    return mine


def _divisors(number: int) -> Iterator[int]:
    return (rows for rows in range(number, 0, -1) if number % rows == 0)


def _fits(denoiser: Denoiser, settings: ModelSettings, rows: int, world: int, device: torch.device) -> bool:
    """Whether forward and backward of so many rows succeed beside what training will hold then.

    It leaves no trace, but moves the denoiser to the device.
    """
    gpus = [device] if device.type != "cpu" else []
    try:
        denoiser.to(device)
        held = torch.empty(_held_later(denoiser, settings, world), dtype=torch.uint8, device=device)
        with torch.random.fork_rng(gpus, device_type=device.type if gpus else "cuda"):
            for _ in range(2):  # the second time gradients are there already, as for all micro-batches but the first
                with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                    loss = denoiser(*denoiser.blank(rows, device))
                loss.backward()
        del held, loss
    except torch.OutOfMemoryError:
        return False
    finally:
        denoiser.zero_grad(set_to_none=True)
        if gpus:
            torch.cuda.empty_cache()
    return True


def _held_later(denoiser: Denoiser, settings: ModelSettings, world: int) -> int:
    """Bytes that training holds on this device beside weights, gradients and activations.

    Adam's two moments and the average; from ZeRO stage 1 on a copy of the weights too, but of each only this rank's part
    and only where they are not on the CPU, and two buckets of gradients.
    """
    trained = sum(parameter.numel() for parameter in denoiser.parameters() if parameter.requires_grad)
    stage = stage_of(settings, trained, world)
    if stage == 0:
        return 3 * trained * _FLOAT
    copies = 0 if settings.offload == "optimizer" else 4 * trained // world
    return (copies + 2 * bucket(stage, trained)) * _FLOAT
