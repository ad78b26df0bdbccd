"""What each kind of layer adds to a person's gradient: its squared norm, and weighted sums, without holding the gradients.

For a linear layer the gradient of a person is G = g^T a, with a (T, d_in) the inputs at the person's T positions and g
(T, d_out) the gradients of its outputs there. Its squared norm is either that of G, which is made and dropped, or
sum(a a^T * g g^T) (the ghost norm of Li et al., arXiv 2110.05679, section 4), whichever takes fewer operations (mixed
ghost clipping, Bu et al., arXiv 2205.10683). A sum over people of c_p G_p is one product of matrices. A convolution is a
linear layer on unfolded inputs.

All images, noise levels and positions of one person are positions: his gradient is theirs together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Seen:
    """What one layer saw of `people` people, each in as many rows.

    Attributes:
        layer: it.
        inputs: (R, ...), R rows, a person's rows together.
        grads: (R, ...), gradients of its outputs.
        people: P.
    """

    layer: nn.Module
    inputs: Tensor
    grads: Tensor
    people: int


SquaredNorms = Callable[[Seen], Tensor]
"""(P,) squared norms of the layer's trained parameters' gradients."""

WeightedSum = Callable[[Seen, Tensor], Mapping[str, Tensor]]
"""Sum over people of (P,) weights times gradients, by name of the layer's parameter."""


def _positions(seen: Seen) -> tuple[Tensor, Tensor]:
    """Inputs (P, T, d_in) and gradients (P, T, d_out) of a linear layer or a convolution."""
    layer, inputs, grads = seen.layer, seen.inputs, seen.grads
    if isinstance(layer, nn.Conv2d):
        if layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.padding == (0, 0):
            inputs = inputs.flatten(2)
        else:
            padding = layer.padding
            assert not isinstance(padding, str)
            inputs = functional.unfold(inputs, layer.kernel_size, layer.dilation, padding, layer.stride)
        inputs, grads = inputs.transpose(1, 2), grads.flatten(2).transpose(1, 2)
    people = seen.people
    return inputs.reshape(people, -1, inputs.shape[-1]), grads.reshape(people, -1, grads.shape[-1])


def _linear_norms(seen: Seen) -> Tensor:
    layer = seen.layer
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    a, g = _positions(seen)
    total = a.new_zeros(seen.people)
    if layer.weight.requires_grad:
        length, wide, tall = a.shape[1], a.shape[2], g.shape[2]
        if length * (wide + tall) < wide * tall:
            total += ((a @ a.transpose(1, 2)) * (g @ g.transpose(1, 2))).sum(dim=(1, 2)).clamp(min=0)
        else:
            total += (g.transpose(1, 2) @ a).square().sum(dim=(1, 2))
    if layer.bias is not None and layer.bias.requires_grad:
        total += g.sum(dim=1).square().sum(dim=1)
    return total


def _linear_sum(seen: Seen, weights: Tensor) -> dict[str, Tensor]:
    layer = seen.layer
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    a, g = _positions(seen)
    g = g * weights.view(-1, 1, 1)
    found = {}
    if layer.weight.requires_grad:
        found["weight"] = (g.flatten(0, 1).T @ a.flatten(0, 1)).view_as(layer.weight)
    if layer.bias is not None and layer.bias.requires_grad:
        found["bias"] = g.sum(dim=(0, 1))
    return found


def _per_person(seen: Seen) -> dict[str, Tensor]:
    """Gradients of a normalisation's weight and bias, (P, d) each: they are small enough to be held."""
    layer, people = seen.layer, seen.people
    if isinstance(layer, nn.GroupNorm):
        plain = functional.group_norm(seen.inputs, layer.num_groups, eps=layer.eps)
        rows = seen.grads.flatten(2), plain.flatten(2)
        scale, shift = (rows[0] * rows[1]).sum(dim=2), rows[0].sum(dim=2)
    else:
        assert isinstance(layer, nn.LayerNorm)
        plain = functional.layer_norm(seen.inputs, layer.normalized_shape, eps=layer.eps)
        last = layer.weight.numel()
        grads, product = seen.grads.reshape(len(plain), -1, last), (seen.grads * plain).reshape(len(plain), -1, last)
        scale, shift = product.sum(dim=1), grads.sum(dim=1)
    found = {}
    if layer.weight is not None and layer.weight.requires_grad:
        found["weight"] = scale.view(people, -1, scale.shape[1]).sum(dim=1)
    if layer.bias is not None and layer.bias.requires_grad:
        found["bias"] = shift.view(people, -1, shift.shape[1]).sum(dim=1)
    return found


def _held_norms(seen: Seen) -> Tensor:
    parts = [part.square().sum(dim=1) for part in _per_person(seen).values()]
    return torch.stack(parts).sum(dim=0)


def _held_sum(seen: Seen, weights: Tensor) -> dict[str, Tensor]:
    return {name: weights @ part for name, part in _per_person(seen).items()}


def _embedding_norms(seen: Seen) -> Tensor:
    """sum over pairs of positions with the same word of <g, g'>."""
    words = seen.inputs.reshape(seen.people, -1)
    g = seen.grads.reshape(seen.people, words.shape[1], -1)
    same = (words[:, :, None] == words[:, None, :]).to(g.dtype)
    return ((g @ g.transpose(1, 2)) * same).sum(dim=(1, 2)).clamp(min=0)


def _embedding_sum(seen: Seen, weights: Tensor) -> dict[str, Tensor]:
    layer = seen.layer
    assert isinstance(layer, nn.Embedding)
    words = seen.inputs.reshape(seen.people, -1)
    g = seen.grads.reshape(seen.people, words.shape[1], -1) * weights.view(-1, 1, 1)
    return {"weight": torch.zeros_like(layer.weight).index_add_(0, words.reshape(-1), g.flatten(0, 1))}


KINDS: Mapping[type[nn.Module], tuple[SquaredNorms, WeightedSum]] = {
    nn.Linear: (_linear_norms, _linear_sum),
    nn.Conv2d: (_linear_norms, _linear_sum),
    nn.GroupNorm: (_held_norms, _held_sum),
    nn.LayerNorm: (_held_norms, _held_sum),
    nn.Embedding: (_embedding_norms, _embedding_sum),
}


def rules_of(layer: nn.Module) -> tuple[SquaredNorms, WeightedSum] | None:
    """The two rules of a layer; None: there are none for its kind."""
    for kind, rules in KINDS.items():
        if isinstance(layer, kind):
            grouped = isinstance(layer, nn.Conv2d) and (layer.groups != 1 or layer.padding_mode != "zeros")
            odd = isinstance(layer, nn.Conv2d) and isinstance(layer.padding, str)
            rare = isinstance(layer, nn.Embedding) and (layer.padding_idx is not None or layer.max_norm is not None)
            return None if grouped or odd or rare else rules
    return None
