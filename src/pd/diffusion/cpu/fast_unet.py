"""A stock UNet made quicker for sampling: the same class, weights and sums, less of what is done twice.

A sampler knows what the UNet on its own does not: the text stays the same over all steps, both halves of a guided batch see
the same latents, and all rows are at the same timestep. So

* the text's keys and values are computed once per distinct prompt and batch, not once per row and step;
* with guidance, what comes before the first look at the text is computed once for both halves;
* the timestep is embedded in one row, and activated once, not in every residual block;
* weights are channels-last, so that a convolution's output is an attention's input without moving it;
* SiLU overwrites its input: fresh memory costs page faults;
* on a CPU, upsampling multiplies less (`CellUpsample`); on a GPU the whole is compiled.
"""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional

from pd.diffusion.cpu.cell_upsample import CellUpsample

_BLOCKS = {"DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"}


class FastUNet:
    """Predictions for batches that share their timestep. A UNet unlike Stable Diffusion's is used as it is.

    Args:
        unet: a text-conditional UNet, which is taken over: it gets hooks and attention processors, and moves.
        device: where to.
        dtype: of its weights and sums: float32, or bfloat16.
        compiled: compile it on a GPU.
    """

    def __init__(
        self, unet: UNet2DConditionModel, device: torch.device, dtype: torch.dtype = torch.float32, compiled: bool = True
    ) -> None:
        # nn.Module's: diffusers' own warns of layers to be kept in float32, of which Stable Diffusion has none
        nn.Module.to(unet.eval(), device, dtype)
        self.unet = unet.to(memory_format=torch.channels_last)
        self.dtype = dtype
        self._text = torch.empty(0)
        self._texts: list[_TextAttention] = []
        self._usual = is_usual(unet)
        if self._usual:
            self._remember_text()
            self._share_rows()
            self._activate()
            if device.type == "cpu":
                for module in list(unet.modules()):
                    if isinstance(module, Upsample2D):
                        module.forward = CellUpsample(module)
        if compiled and device.type == "cuda":
            unet.compile()

    def set_text(self, texts: Sequence[Tensor], rows: Sequence[int]) -> None:
        """What the next predictions attend to.

        Args:
            texts: embeddings (1, L, d) of distinct prompts, each of which is projected on its own: floating point sums
                depend on the shape of a batch.
            rows: the prompt of each row, B of them, or 2 B when the latents are shared by two halves.
        """
        texts = [text.to(self.dtype) for text in texts]
        at = torch.tensor(rows, device=texts[0].device)
        self._text = torch.cat(texts)[at]
        for attention in self._texts:
            attention.set_text(texts, at)

    def __call__(self, latents: Tensor, timestep: Tensor) -> Tensor:
        """Predictions (rows of the text, c, h, w) float32 of latents (B, c, h, w) float32 at one timestep."""
        latents = latents.to(self.dtype)
        if not self._usual:
            latents = self._fill(latents)
        predicted: Tensor = self.unet(latents, timestep, self._text, return_dict=False)[0]
        return predicted.float()

    def _remember_text(self) -> None:
        for module in self.unet.modules():
            if isinstance(module, Attention) and module.is_cross_attention:
                self._texts.append(_TextAttention(module))
                module.set_processor(self._texts[-1])

    def _share_rows(self) -> None:
        """Let the UNet begin with one half of a guided batch, and one row of the timestep."""

        def double(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return (self._fill(args[0]), *args[1:])

        def double_skips(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            skips = tuple(self._fill(skip) for skip in kwargs["res_hidden_states_tuple"])
            return args, kwargs | {"res_hidden_states_tuple": skips}

        self.unet.time_embedding.register_forward_pre_hook(lambda module, args: (args[0][:1], *args[1:]))
        looks = (module for module in self.unet.down_blocks.modules() if isinstance(module, Transformer2DModel))
        next(looks, self.unet.conv_in).register_forward_pre_hook(double)
        for block in self.unet.up_blocks:
            block.register_forward_pre_hook(double_skips, with_kwargs=True)

    def _fill(self, half: Tensor) -> Tensor:
        """As many rows as the text has."""
        return half if len(half) == len(self._text) else torch.cat([half, half])

    def _activate(self) -> None:
        self.unet.time_embed_act = nn.SiLU()
        self.unet.conv_act = nn.SiLU(inplace=True)
        for module in self.unet.modules():
            if isinstance(module, ResnetBlock2D):
                module.skip_time_act = True
                module.nonlinearity = nn.SiLU(inplace=True)


class _TextAttention:
    """diffusers' attention processor for text whose keys and values are there already."""

    def __init__(self, attention: Attention) -> None:
        self.attention = attention
        self.keys = self.values = torch.empty(0)

    def set_text(self, texts: Sequence[Tensor], rows: Tensor) -> None:
        self.keys, self.values = (
            torch.cat([self._heads(project(text)) for text in texts])[rows]
            for project in (self.attention.to_k, self.attention.to_v)
        )

    def __call__(self, attention: Attention, hidden_states: Tensor, **ignored: Any) -> Tensor:
        query = self._heads(attention.to_q(hidden_states))
        found = functional.scaled_dot_product_attention(query, self.keys, self.values)
        result: Tensor = attention.to_out[0](found.transpose(1, 2).flatten(2))
        return result

    def _heads(self, tokens: Tensor) -> Tensor:
        """(B, L, heads * d) as (B, heads, L, d)."""
        return tokens.view(*tokens.shape[:2], self.attention.heads, -1).transpose(1, 2)


def is_usual(unet: UNet2DConditionModel) -> bool:
    """Is it built as Stable Diffusion's, whatever its size? diffusers knows many other blocks."""
    config = unet.config
    return (
        {*config.down_block_types, *config.up_block_types} <= _BLOCKS
        and config.mid_block_type == "UNetMidBlock2DCrossAttn"
        and config.attention_type == "default"
        and not config.dual_cross_attention
        and config.encoder_hid_dim_type is None
        and config.cross_attention_norm is None
        and config.act_fn == "silu"
        and config.time_embedding_act_fn is None
        and config.resnet_time_scale_shift == "default"
        and not config.resnet_skip_time_act
    )
