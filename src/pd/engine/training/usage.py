"""What people watch of a training's work: its speed, its use of the hardware, its memory."""

import resource
import sys
import time
from typing import Any

import torch

from pd.config import ModelSettings
from pd.diffusion.components import Components
from pd.diffusion.denoiser import Denoiser
from pd.diffusion.flops import TrainingFlops, training_flops
from pd.diffusion.peak import peak_flops

_GIGA = 1e9


def memory_used(device: torch.device) -> tuple[float, float]:
    """The most memory, in GB, that this process has had: of its device (tensors, on a GPU), and of the machine (resident)."""
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIGA
    return (torch.cuda.max_memory_allocated(device) / _GIGA if device.type == "cuda" else resident), resident


class Watch:
    """Counts images and operations from one report to the next.

    MFU (model FLOPs utilisation; Chowdhery et al., arXiv 2204.02311, appendix B) is the operations that the model's mathematics
    took, as `pd.diffusion.flops` counts them, over what the workers' devices could have done meanwhile, as `pd.diffusion.peak`
    has it. The time between two reports counts whole: checkpoints and samples are in it.

    Args:
        settings: of the training.
        flops: of an image and of a caption; None: not known, and no MFU.
        peak: FLOP/s of one worker's device.
        world: workers.
    """

    def __init__(self, settings: ModelSettings, flops: TrainingFlops | None, peak: float, world: int) -> None:
        self._batch, self._flops, self._peak, self._world = settings.batch, flops, peak, world
        self._images = self._captions = 0
        self._operations = self._seconds = 0.0
        self._since = time.monotonic()

    def start(self) -> None:
        """The time counts from now."""
        self._since = time.monotonic()

    def step(self, captions: int) -> None:
        """A step was taken in which the text encoder, where it is trained, read so many captions on this rank."""
        self._images += self._batch
        self._captions += captions * self._world  # the others' are as many, or nearly

    def figures(self) -> dict[str, float]:
        """images_per_s and mfu since the last call."""
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        found = {"images_per_s": self._images / seconds}
        if self._flops is not None:
            operations = self._flops.total(self._images, self._captions)
            found["mfu"] = self._use(operations, seconds)
            self._operations += operations
            self._seconds += seconds
        self._images = self._captions = 0
        self._since = now
        return found

    def facts(self) -> dict[str, Any]:
        """mfu over all reports; None when it is not known or no step was taken."""
        return {"mfu": self._use(self._operations, self._seconds) if self._seconds else None}

    def _use(self, operations: float, seconds: float) -> float:
        return operations / seconds / (self._peak * self._world)


def watch(components: Components, denoiser: Denoiser, settings: ModelSettings, device: torch.device, world: int) -> Watch:
    """The watch of a training, on rank 0. Call it before DeepSpeed has the denoiser: ZeRO takes the parameters apart."""
    try:
        flops = training_flops(
            denoiser.unet, denoiser.text_encoder, components.latent_shape, components.tokenizer.model_max_length
        )
    except Exception:  # a base may have parts that do not run on tensors without content; a figure is no reason to fail
        flops = None
    return Watch(settings, flops, peak_flops(device, settings.precision), world)
