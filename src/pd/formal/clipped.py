"""Sums of clipped gradients of private data, and the one way from there to an optimiser: noise.

`ClippedSum` is private. It has no public way to its numbers: `noised` gives a `NoisedSum`, and only that can fill the
gradients that an optimiser reads. `person_gradients` never fills a parameter's `grad`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pd.dp.noise import NoiseSource
from pd.errors import UserError
from pd.formal.layers import Seen, rules_of
from pd.training.ranks import Ranks

# Norms are computed to about 1e-6; what a person may move the sum by must not be passed for a rounding error.
_SLACK = 1e-4


@dataclass(frozen=True)
class NoisedSum:
    """A released sum of gradients: what is made of it costs nothing more.

    Attributes:
        parts: parameter's name -> sum with noise.
    """

    parts: Mapping[str, Tensor]

    def fill(self, module: nn.Module, people: float) -> None:
        """Put the mean over so many people (a public number) where an optimiser reads gradients."""
        parameters = dict(module.named_parameters())
        for name, part in self.parts.items():
            parameters[name].grad = part / people


class ClippedSum:
    """The sum of people's clipped gradients: private until it is noised.

    Args:
        module: of whose trained parameters.
        clip: L2 norm that bounds a person's gradient, over all parameters together.
    """

    __slots__ = ("_clip", "_people", "_sums")

    def __init__(self, module: nn.Module, clip: float) -> None:
        self._clip, self._people = clip, 0
        self._sums = {name: torch.zeros_like(value) for name, value in module.named_parameters() if value.requires_grad}

    def _add(self, sums: Mapping[str, Tensor], people: int) -> None:
        self._people += people
        for name, value in sums.items():
            self._sums[name] += value

    def over_ranks(self, ranks: Ranks) -> None:
        """Add up over ranks; each holds other people."""
        ranks.sum_(self._sums.values())

    def noised(self, noise_multiplier: float, source: NoiseSource, *names: str | int) -> NoisedSum:
        """The sum plus normal noise of deviation `noise_multiplier * clip` on each number: the Gaussian mechanism.

        Every rank draws the same noise, so that as much is added however many there are.

        Args:
            noise_multiplier: as the ledger's event says.
            source: of the noise.
            names: of this release; never the same for two.
        """
        total = sum(value.numel() for value in self._sums.values())
        noise = torch.from_numpy(source.normal((total,), "gradient", *names)) * (noise_multiplier * self._clip)
        parts, start = {}, 0
        for name, value in self._sums.items():
            part = noise[start : start + value.numel()].view_as(value)
            parts[name] = (value.double() + part.to(value.device)).to(value.dtype)
            start += value.numel()
        return NoisedSum(parts)


class PersonGradients:
    """Clips and sums the gradients of people through a module.

    Args:
        module: its trained parameters belong to layers that `pd.formal.layers` knows.

    Raises:
        UserError: one does not.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self._layers: list[tuple[str, nn.Module]] = []
        owned: dict[int, str] = {}
        for prefix, layer in module.named_modules():
            trained = [(name, value) for name, value in layer.named_parameters(recurse=False) if value.requires_grad]
            if not trained:
                continue
            if rules_of(layer) is None:
                raise UserError(
                    f"no gradient of one person is known for a layer of kind {type(layer).__name__}",
                    code="bad-model",
                    where=f"formal, layer {prefix or 'model'}",
                    fix="freeze it, or use linear layers, 2-d convolutions, embeddings, group and layer normalisation",
                )
            if any(id(value) in owned for _, value in trained):
                raise UserError(
                    "two layers share a trained parameter", code="bad-model", where=f"formal, layer {prefix}", fix="freeze it"
                )
            owned |= {id(value): prefix for _, value in trained}
            self._layers.append((prefix, layer))

    def add(self, total: ClippedSum, losses: Callable[[], Tensor], people: int) -> Tensor:
        """Add the clipped gradients of some people to a sum.

        Args:
            total: it.
            losses: runs the module and gives (R,) losses, R = people * rows of each, a person's rows together. A row's loss
                depends on no other row. A person's loss is the mean of his rows'.
            people: P.

        Returns:
            (P,) float32, each person's loss. Private: a loss that is shown stays with the custodian.
        """
        with self._recorded() as (inputs, outputs):
            found = losses()
        rows = len(found)
        if rows % people:
            raise ValueError(f"{rows} rows for {people} people")
        each = rows // people
        used = [(prefix, layer) for prefix, layer in self._layers if prefix in outputs]
        flat = [output for prefix, _ in used for output in outputs[prefix]]
        given = torch.autograd.grad(found.sum() / each, flat, allow_unused=True)
        grads = iter(torch.zeros_like(o) if g is None else g for o, g in zip(flat, given, strict=True))
        seen: list[tuple[str, Seen]] = []
        for prefix, layer in used:
            pairs = [(i, next(grads)) for i in inputs[prefix]]
            if any(len(value) != rows for pair in pairs for value in pair):
                raise ValueError(f"layer {prefix} does not see one row for each loss")
            seen.append((prefix, _together(layer, pairs, people)))
        squares = torch.stack([_rules(one.layer)[0](one) for _, one in seen]).sum(dim=0)
        norms = squares.sqrt()
        factors = torch.where(norms.isfinite(), (total._clip / (norms * (1 + _SLACK) + 1e-12)).clamp(max=1.0), 0.0)
        for prefix, one in seen:
            # a person whose gradient is not finite counts for nothing, and 0 * inf is no nothing
            one = one if bool(norms.isfinite().all()) else _finite(one, norms.isfinite())
            sums = _rules(one.layer)[1](one, factors)
            total._add({f"{prefix}.{name}" if prefix else name: value for name, value in sums.items()}, 0)
        total._add({}, people)
        return found.detach().float().view(people, each).mean(dim=1)

    @contextmanager
    def _recorded(self) -> Iterator[tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]]:
        """Inputs and outputs of the trained layers while a forward runs."""
        inputs: dict[str, list[Tensor]] = {}
        outputs: dict[str, list[Tensor]] = {}

        def recorder(prefix: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
            def record(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
                inputs.setdefault(prefix, []).append(given[0].detach())
                outputs.setdefault(prefix, []).append(output)

            return record

        handles = [layer.register_forward_hook(recorder(prefix)) for prefix, layer in self._layers]
        try:
            yield inputs, outputs
        finally:
            for handle in handles:
                handle.remove()


def _rules(layer: nn.Module):  # type: ignore[no-untyped-def]
    rules = rules_of(layer)
    assert rules is not None
    return rules


def _together(layer: nn.Module, pairs: list[tuple[Tensor, Tensor]], people: int) -> Seen:
    """One record of a layer that ran several times in a forward: its runs are further rows of each person."""
    if len(pairs) == 1:
        return Seen(layer, *pairs[0], people)

    def joined(values: list[Tensor]) -> Tensor:
        split = [value.view(people, -1, *value.shape[1:]) for value in values]
        return torch.cat(split, dim=1).flatten(0, 1)

    return Seen(layer, joined([pair[0] for pair in pairs]), joined([pair[1] for pair in pairs]), people)


def _finite(seen: Seen, people: Tensor) -> Seen:
    rows = people.repeat_interleave(len(seen.grads) // seen.people)
    keep = rows.view(-1, *(1,) * (seen.grads.ndim - 1))
    inputs = seen.inputs
    if inputs.is_floating_point():
        inputs = torch.where(rows.view(-1, *(1,) * (inputs.ndim - 1)), inputs, 0.0)
    return Seen(seen.layer, inputs, torch.where(keep, seen.grads, 0.0), seen.people)
