"""A stock UNet made quicker for training: the same class, weights and sums, less of what is done twice or badly.

* The images of a batch share few captions: keys and values of the text are computed once per distinct caption, not per image.
* In bfloat16 on a CPU, torch's fused attention takes many times as long backwards as its products do, and a group norm of
  bfloat16 by float32 weights longer than one of float32: attention is spelt out, and norms are given what their weights are.
* So do convolutions (`training_conv`).
"""

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

from pd.diffusion.cpu.fast_unet import is_usual
from pd.diffusion.cpu.training_conv import convolve_in_bfloat16


def quicken(unet: UNet2DConditionModel) -> bool:
    """Make a UNet quicker, in place, if it is built as Stable Diffusion's; others stay as they are.

    Returns:
        Whether it was. Then it takes the embeddings of distinct captions, (u, L, d), as `encoder_hidden_states`, and with
        `cross_attention_kwargs={"rows": rows}`, (B,) int64, which of them each image has.
    """
    if not is_usual(unet):
        return False
    unet.set_attn_processor(SharedTextAttention())
    for module in unet.modules():
        if isinstance(module, nn.GroupNorm):
            module.register_forward_pre_hook(_as_its_weights_on_a_cpu)
        elif isinstance(module, nn.Conv2d):
            convolve_in_bfloat16(module)
    return True


class SharedTextAttention:
    """diffusers' attention processor for text that images share. Self-attention is the usual."""

    def __call__(
        self,
        attention: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            attention: whose projections are used.
            hidden_states: (B, N, d) of the images.
            encoder_hidden_states: (u, L, e) of distinct captions; None: the images attend to themselves.
            attention_mask: not used; training has none.
            rows: (B,) int64, each image's caption. None: image i has caption i.
        """
        query = _heads(attention.to_q(hidden_states), attention.heads)
        seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        keys = _heads(attention.to_k(seen), attention.heads)
        values = _heads(attention.to_v(seen), attention.heads)
        if encoder_hidden_states is not None and rows is not None:
            keys, values = _at(rows, keys), _at(rows, values)
        if hidden_states.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            found = _spelt_out(query, keys, values)
        else:
            found = functional.scaled_dot_product_attention(query, keys, values)
        result: Tensor = attention.to_out[0](found.transpose(1, 2).flatten(2))
        return result


def _heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, L, heads * d) as (B, heads, L, d)."""
    return tokens.view(*tokens.shape[:2], heads, -1).transpose(1, 2)


def _at(rows: Tensor, table: Tensor) -> Tensor:
    """table[rows] as a product, exact as well: backwards, indexing adds row by row, which takes longer than all it saves."""
    chosen = functional.one_hot(rows, len(table)).to(table.dtype)
    return (chosen @ table.flatten(1)).view(len(rows), *table.shape[1:])


def _spelt_out(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention as two products and a softmax, which autocast takes in float32."""
    flat = (tensor.flatten(0, 1) for tensor in (query * query.shape[-1] ** -0.5, keys, values))
    asked, keys, values = flat
    weights = torch.bmm(asked, keys.transpose(1, 2)).softmax(-1)
    return torch.bmm(weights, values).view(*query.shape[:3], -1)


def _as_its_weights_on_a_cpu(module: nn.GroupNorm, args: tuple[Any, ...]) -> tuple[Any, ...]:
    images: Tensor = args[0]
    return (images.to(module.weight.dtype) if images.device.type == "cpu" else images, *args[1:])
