"""LoRA: low-rank additions to the attention projections of a base whose own weights stay as they are.

A projection W becomes W + (alpha / rank) B A, with A (rank, in) drawn at random and B (out, rank) zero, so that training
starts at the base itself (Hu et al., arXiv 2106.09685). Through peft, whose layers go where the projections were: a model
keeps its class and its other names.
"""

from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from pd.config import ModelSettings, Trained
from pd.seeds import derive

UNET_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
_ADDED = "lora_"


def attach(unet: nn.Module, text_encoder: nn.Module, settings: ModelSettings, seed: int) -> None:
    """Put the additions into the parts that the settings want them in, in place.

    Args:
        unet: diffusers'.
        text_encoder: CLIP's.
        settings: what is trained, lora_rank, lora_alpha.
        seed: the additions are drawn from it and from nothing else.
    """
    parts = (
        ("unet", unet, settings.unet_training, UNET_TARGETS),
        ("text_encoder", text_encoder, settings.text_encoder_training, TEXT_TARGETS),
    )
    for name, module, trained, targets in parts:
        if trained == "lora":
            config = LoraConfig(r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules=list(targets))  # type: ignore[arg-type]
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive(seed, "adapter", name))
                inject_adapter_in_model(config, module)


def choose_trained(module: nn.Module, trained: Trained) -> None:
    """Let gradients flow to what is trained of a part, and to nothing else of it."""
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(trained == "full" or (trained == "lora" and _ADDED in name))


@torch.no_grad()
def merge(module: nn.Module) -> None:
    """Add the additions to the weights, in place, and leave the plain module that it was before `attach`."""
    for name, layer in list(module.named_modules()):
        if isinstance(layer, LoraLayer):
            layer.merge()
            parent, _, child = name.rpartition(".")
            holder: Any = module.get_submodule(parent)
            setattr(holder, child, layer.get_base_layer())
    module.__dict__.pop("peft_config", None)  # peft's note that its layers are here
