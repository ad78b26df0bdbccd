"""Floating point operations of training on one image: what the model's mathematics takes, however it is computed."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextModel


@dataclass(frozen=True)
class TrainingFlops:
    """Of one forward and backward pass, a multiplication and an addition being two operations.

    Attributes:
        image: of the UNet, per image.
        caption: of the text encoder where it is trained, per caption that it reads (each distinct one of a micro-batch
            once); 0 where its embeddings were computed before the training.
    """

    image: float
    caption: float

    def total(self, images: int, captions: int) -> float:
        """Of so many images with so many distinct captions."""
        return images * self.image + captions * self.caption


def training_flops(
    unet: UNet2DConditionModel, text_encoder: CLIPTextModel | None, latent_shape: tuple[int, int, int], tokens: int
) -> TrainingFlops:
    """Count what a forward and a backward pass multiply, on tensors without content: it takes a second, and no memory.

    A backward pass is counted as autograd walks it. Where all of a model is trained it is about twice the forward, so that
    the whole is the usual "three times the forward". Frozen weights (also those under LoRA) need no gradient of their own, but
    what comes before them does: such a training is about two forwards. What gradient checkpointing computes again is not
    counted, for it is no progress; nor are the autoencoder, the optimiser and the average.

    Args:
        unet: as it will be trained, `requires_grad` set. It is left as it is.
        text_encoder: None when it is not trained.
        latent_shape: (c, h, w) of one image's latents.
        tokens: length of a caption.
    """
    width: int = unet.config.cross_attention_dim
    text = torch.empty(1, tokens, width, dtype=unet.dtype, device="meta", requires_grad=_is_trained(text_encoder))
    latents = torch.empty(1, *latent_shape, dtype=unet.dtype, device="meta")
    image = _count(unet, latents, torch.empty(1, dtype=torch.int64, device="meta"), text)
    words = torch.empty(1, tokens, dtype=torch.int64, device="meta")
    return TrainingFlops(image, _count(text_encoder, words) if text_encoder is not None else 0.0)


def _is_trained(module: nn.Module | None) -> bool:
    return module is not None and any(parameter.requires_grad for parameter in module.parameters())


def _count(module: nn.Module, *given: Tensor) -> float:
    """Operations of a forward and, where anything is trained, a backward pass of a module's shapes."""
    state: dict[str, Any] = {
        name: torch.empty_like(parameter, device="meta").requires_grad_(parameter.requires_grad)
        for name, parameter in module.named_parameters()
    }
    state |= {name: torch.empty_like(buffer, device="meta") for name, buffer in module.named_buffers()}
    with _nothing_twice(module), FlopCounterMode(display=False) as counter:
        found: Tensor = functional_call(module, state, given)[0]
        if found.requires_grad:
            found.sum().backward()  # type: ignore[no-untyped-call]
    return float(counter.get_total_flops())


@contextlib.contextmanager
def _nothing_twice(module: nn.Module) -> Iterator[None]:
    """Without gradient checkpointing, as diffusers and transformers switch it."""
    switched = [vars(part) for part in module.modules() if vars(part).get("gradient_checkpointing")]
    try:
        for part in switched:
            part["gradient_checkpointing"] = False
        yield
    finally:
        for part in switched:
            part["gradient_checkpointing"] = True
