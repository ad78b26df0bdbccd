"""The DeepSpeed engine of a training, and the average of its weights, under every ZeRO stage.

The average (EMA) is kept beside the float32 weights that the optimiser steps, flat: all of them at stage 0, this rank's part
at stages 1 to 3 and where ranks share their weights. So it costs no communication in a step; whole tensors are gathered at
the end.
"""

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from pd.config import ModelSettings
from pd.diffusion.denoiser import Denoiser
from pd.diffusion.ema import Ema
from pd.engine.cpu.flat import flatten
from pd.engine.runtime import rank_rows
from pd.engine.training.checkpoint import AVERAGE, MOMENT_1, MOMENT_2, WEIGHTS, Checkpoint, write, write_client
from pd.engine.training.partition import Piece, masters, pieces, stage_of

BETAS = (0.9, 0.99)


class TrainEngine:
    """A module, its optimiser and its average.

    Args:
        module: forward returns the loss; what is trained has `requires_grad`.
        settings: of the training.
        micro_batch: rows per forward on this rank.
        device: of this rank.
    """

    def __init__(self, module: Denoiser, settings: ModelSettings, micro_batch: int, device: torch.device) -> None:
        import deepspeed  # slow, and it looks for the accelerator when it is imported

        # On CPUs DeepSpeed would first compile its own all-reduce, for minutes; gloo has one.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        self.settings = settings
        trained = [parameter for parameter in module.to(device).parameters() if parameter.requires_grad]
        size = sum(parameter.numel() for parameter in trained)
        self.stage = stage_of(settings, size, distributed.get_world_size())
        linear = F.linear
        self._flat = flatten(module) if self.stage == 0 else None
        self.engine, *_ = deepspeed.initialize(
            model=module,
            optimizer=_adamw(self._flat.mine, settings) if self._flat else None,
            model_parameters=trained,  # the frozen ones get no gradients and no state
            config=_config(settings, self.stage, micro_batch, size, device, distributed.get_world_size()),
            dist_init_required=False,
        )
        # ZeRO 3 puts its own linear layer in torch's place, for good: one that keeps no gathered weights for the backward pass,
        # and that knows no forward-mode derivatives, which other networks of this process need.
        self._linear, F.linear = F.linear, linear
        if self._flat:  # DeepSpeed would take the gradients one by one, and forget them after the step
            self.engine.enable_backward_allreduce = False
            self.engine.zero_grad = self._flat.zero_grad
        # ZeRO 3 gathers each layer's weights as it comes: nothing whole to compile.
        if settings.compile == "on" or (settings.compile == "auto" and device.type != "cpu" and self.stage < 3):
            module.shares_text = False  # one shape for every step: else each number of captions is compiled anew
            module.unet.compile(dynamic=False)  # in place: the names of parameters stay
        self.ema = Ema(self._masters(), settings.ema)

    def rate(self, step: int) -> float:
        """The learning rate of a step (from 0): linear warm-up, then constant, or a cosine down to a twentieth."""
        steps, warmup = self.settings.steps, self.settings.warmup
        factor = min(1.0, (step + 1) / warmup) if warmup else 1.0
        if self.settings.schedule == "cosine":
            factor *= 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps))
        return self.settings.learning_rate * factor

    def begin(self, step: int) -> None:
        """Set the step's learning rate."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = self.rate(step)

    def micro_step(self, *batch: Tensor) -> Tensor:
        """Forward and backward; on the step's last micro-batch also the optimiser's step. Returns the detached loss."""
        linear, F.linear = F.linear, self._linear
        try:
            loss: Tensor = self.engine(*batch)
        finally:
            F.linear = linear
        self.engine.backward(loss)
        if self._flat and self.engine.is_gradient_accumulation_boundary():
            self._norm = self._flat.reduce(self.settings.clip_norm)
        self.engine.step()
        return loss.detach()

    def end(self, step: int) -> None:
        """Take the step's weights into the average."""
        self.ema.update(self._masters(), step)
        if self._flat:
            self._flat.settle()

    def finite(self) -> bool:
        """Whether this rank's float32 weights are all finite."""
        return all(bool(torch.isfinite(weights).all()) for weights in self._masters())

    def gradient_norm(self) -> float:
        """Of the last step, before clipping. Call it after a step."""
        return float(self._norm if self.stage == 0 else self.engine.get_global_grad_norm())

    def save(self, folder: Path, client: dict[str, Any]) -> None:
        """Write this rank's part of a checkpoint. All ranks call it; `Checkpoint.client` is what is given here."""
        rank = distributed.get_rank()
        whole = bool(self._flat and not self._flat.parted)  # every rank has the same
        if rank == 0:
            write_client(folder, {**client, "parts": 1 if whole else distributed.get_world_size()})
        if rank > 0 and whole:
            return
        steps = [self._moments(master) for master in self._masters()]
        held = {
            WEIGHTS: self._masters(),
            AVERAGE: self.ema.averages,
            MOMENT_1: [state["exp_avg"] for state in steps],
            MOMENT_2: [state["exp_avg_sq"] for state in steps],
        }
        write(folder, rank, held, self._pieces(rank))

    def load(self, checkpoint: Checkpoint, step: int) -> None:
        """Go on from a checkpoint after so many steps; the module was built with its weights (`take_weights`)."""
        mine = self._pieces(distributed.get_rank())
        checkpoint.fill(AVERAGE, self.ema.averages, mine)
        moments = [self._moments(master) for master in self._masters()]
        for state in moments:
            state["step"].fill_(step)
        checkpoint.fill(MOMENT_1, [state["exp_avg"] for state in moments], mine)
        checkpoint.fill(MOMENT_2, [state["exp_avg_sq"] for state in moments], mine)

    @torch.no_grad()
    def averaged(self) -> dict[str, Tensor]:
        """The averaged weights by parameter name, float32 on the CPU; empty on all ranks but 0. All ranks call it."""
        parted = self._flat.parted if self._flat else True
        rank, world = distributed.get_rank(), distributed.get_world_size() if parted else 1
        shapes = {name: _shape(parameter) for name, parameter in self.engine.module.named_parameters()}
        found: dict[str, Tensor] = {}
        layouts = [self._pieces(other) for other in range(world)]
        for group, average in enumerate(self.ema.averages):
            average = average.to(self.engine.device)  # NCCL does not send what the optimiser left on the CPU
            parts = [average]
            if world > 1:
                parts = [torch.empty_like(average) for _ in range(world)] if rank == 0 else []
                distributed.gather(average, parts or None)
            for part, layout in zip(parts, layouts, strict=False):
                for piece in layout:
                    if rank == 0 and piece.group == group:
                        whole = found.setdefault(piece.name, torch.empty(shapes[piece.name]))
                        whole.view(-1)[piece.start : piece.start + piece.length] = piece.of(part).cpu()
        return found

    def _masters(self) -> list[Tensor]:
        return [self._flat.mine] if self._flat else masters(self.engine, self.stage)

    def _pieces(self, rank: int) -> list[Piece]:
        """What a rank's masters hold."""
        return self._flat.pieces(rank) if self._flat else pieces(self.engine, self.stage, rank)

    def _moments(self, master: Tensor) -> dict[str, Tensor]:
        """Adam's state of a master, made if no step was taken yet."""
        optimizer = self.engine.optimizer if self.stage == 0 else self.engine.optimizer.optimizer
        state: dict[str, Tensor] = optimizer.state[master]
        if not state:
            state["step"] = torch.zeros((), device=master.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(master), torch.zeros_like(master)
        return state


def take_weights(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into a module that no engine has yet.

    Raises:
        UserError: it is a checkpoint of another model.
    """
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if trained.keys() != checkpoint.names():
        raise checkpoint.broken(f"has {len(checkpoint.names())} parameters, this model trains {len(trained)} others")
    for name, parameter in trained.items():
        parameter.data.copy_(checkpoint.read(WEIGHTS, name, 0, parameter.numel()).view(parameter.shape))


def bucket(stage: int, trained: int) -> int:
    """Elements that ZeRO reduces at once, and allocates: an eighth of the model's, at most a tenth of ZeRO's default.

    At most a hundredth at stage 3, where memory is short.
    """
    return min(5_000_000 if stage == 3 else 50_000_000, -(-trained // 8))


def _adamw(master: nn.Parameter, settings: ModelSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW([master], **_adamw_settings(settings))


def _adamw_settings(settings: ModelSettings) -> dict[str, Any]:
    return {"fused": True, "lr": settings.learning_rate, "betas": BETAS, "weight_decay": settings.weight_decay}


def _shape(parameter: Tensor) -> torch.Size:
    """The whole parameter's; ZeRO stage 3 leaves an empty one in its place."""
    return getattr(parameter, "ds_shape", parameter.shape)


def _config(
    settings: ModelSettings, stage: int, micro_batch: int, size: int, device: torch.device, world: int
) -> dict[str, Any]:
    """DeepSpeed's settings. bf16 is autocast over float32 weights: they and their average keep their precision."""
    offload = {"device": "cpu", "pin_memory": device.type != "cpu"} if settings.offload == "optimizer" else None
    # DeepSpeed's own Adam compiles itself with ninja when it is first used
    adamw = {"type": "AdamW", "params": {"torch_adam": True, **_adamw_settings(settings)}}
    return {
        "train_batch_size": world * rank_rows(settings, world),
        "train_micro_batch_size_per_gpu": micro_batch,
        # At stage 0 `training.flat` has clipped the gradients; DeepSpeed would clip them to 1 where it is told nothing.
        "gradient_clipping": settings.clip_norm if stage else 0.0,
        **({"optimizer": adamw} if stage else {}),
        "zero_optimization": {
            "stage": stage,
            "reduce_bucket_size": bucket(stage, size),
            "allgather_bucket_size": bucket(stage, size),
            # What a layer has gathered goes when the layer is done; by default models under 1 billion weights keep all of it.
            "stage3_prefetch_bucket_size": bucket(stage, size),
            "stage3_max_live_parameters": 4 * bucket(stage, size),
            "stage3_max_reuse_distance": 4 * bucket(stage, size),
        }
        | ({"offload_optimizer": offload} if offload else {}),
        "zero_force_ds_cpu_optimizer": False,  # DeepSpeed's own for CPUs compiles itself as well
        "torch_autocast": {"enabled": settings.precision == "bf16", "dtype": "bfloat16"},
        "steps_per_print": 10**9,
    }
