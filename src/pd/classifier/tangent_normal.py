"""Adversarial directions along and off the manifold of a decoder (TNAR, arXiv 1808.06088; used in arXiv 2409.02404).

At a picture x with latent m, J is the decoder's Jacobian. The tangent direction is J v for the v of length `tangent` that moves
the prediction most, the normal one the r of length `normal`, orthogonal to J v, that does; each by one step of power iteration
on the divergence KL(f(x) | f(x + r)), whose gradient near r = 0 is its second derivative times r (VAT, arXiv 1704.03976). A
student then learns to be steady along both.

The paper leaves the norm open and its code takes the largest coordinate; lengths here are L2 norms. Ours: one iteration, and
that orthogonality is exact, by projection, where the paper has a penalty.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from pd.classifier.vae import Vae

Classifier = Callable[[Tensor], Tensor]
"""(n, C, H, W) to logits (n, classes)."""

_SMALL = 1e-2  # of the step from which a derivative is taken, L2; ours


def divergence(logits: Tensor, moved: Tensor) -> Tensor:
    """KL(softmax logits | softmax moved), mean over rows; `logits` are taken as they are."""
    return functional.kl_div(
        moved.log_softmax(dim=1), logits.detach().log_softmax(dim=1), reduction="batchmean", log_target=True
    )


def along(vae: Vae, mean: Tensor, steps: Tensor) -> Tensor:
    """J v, (n, C, H, W): what the decoder does to small steps (n, d) of the latent at `mean`."""
    with torch.enable_grad():
        at = mean.detach().requires_grad_()
        pictures = vae.decoder(at)
        # J^T u is linear in u, and its derivative along `steps` is J v: no forward mode is needed
        probe = torch.zeros_like(pictures).requires_grad_()
        (weighed,) = torch.autograd.grad(pictures, at, probe, create_graph=True)
        found: Tensor = torch.autograd.grad(weighed, probe, steps)[0]
    return found.detach()


def back(vae: Vae, mean: Tensor, gradient: Tensor) -> Tensor:
    """J^T g, (n, d)."""
    with torch.enable_grad():
        at = mean.detach().requires_grad_()
        (found,) = torch.autograd.grad((vae.decoder(at) * gradient).sum(), at)
    return found


def tangent(classifier: Classifier, vae: Vae, pictures: Tensor, start: Tensor, length: float) -> Tensor:
    """(n, C, H, W), in the decoder's tangent space at each picture's latent.

    Args:
        classifier: whose prediction is to move.
        vae: frozen.
        pictures: (n, C, H, W).
        start: (n, d) random directions.
        length: of the step in the latent.
    """
    with torch.no_grad():
        mean, _ = vae.encode(pictures)
    moved = along(vae, mean, _unit(start))
    steepest = back(vae, mean, _curvature(classifier, pictures, moved))
    return along(vae, mean, length * _unit(steepest, start))


def normal(classifier: Classifier, pictures: Tensor, off: Tensor, start: Tensor, length: float) -> Tensor:
    """(n, C, H, W), orthogonal to `off`, of this length.

    Args:
        classifier: whose prediction is to move.
        pictures: (n, C, H, W).
        off: tangent directions.
        start: (n, C, H, W) random directions.
        length: of the step, in pixels.
    """
    start = _without(start, off)
    steepest = _without(_curvature(classifier, pictures, start), off)
    return length * _unit(steepest, start)


def _curvature(classifier: Classifier, pictures: Tensor, direction: Tensor) -> Tensor:
    """The divergence's gradient a small step away: its second derivative times that step."""
    with torch.enable_grad():
        step = (_SMALL * _unit(direction)).detach().requires_grad_()
        with torch.no_grad():
            logits = classifier(pictures)
        # a sum over rows: each row's gradient is its own
        apart = divergence(logits, classifier(pictures + step)) * len(pictures)
        found: Tensor = torch.autograd.grad(apart, step)[0]
    return found.detach()


def _unit(rows: Tensor, otherwise: Tensor | None = None) -> Tensor:
    """Rows of length 1; one of length 0 becomes the other's."""
    shape = (-1, *(1,) * (rows.ndim - 1))
    norms = rows.flatten(1).double().norm(dim=1)
    if otherwise is not None:
        rows = torch.where((norms < 1e-20).view(shape), otherwise, rows)
        norms = rows.flatten(1).double().norm(dim=1)
    unit: Tensor = (rows.double() / norms.clamp(min=1e-20).view(shape)).to(rows.dtype)
    return unit


def _without(rows: Tensor, off: Tensor) -> Tensor:
    """Rows with their part along `off` taken out, twice: once leaves a rounding error of float32."""
    unit = _unit(off)
    for _ in range(2):
        part = (rows.flatten(1) * unit.flatten(1)).sum(dim=1)
        rows = rows - part.view(-1, *(1,) * (rows.ndim - 1)) * unit
    return rows
