"""Directions lie where they should: along the decoder's tangent space, and off it; and they move the prediction most."""

import pytest
import torch

from pd.classifier.tangent_normal import along, back, divergence, normal, tangent
from pd.classifier.vae import Vae, neighbours
from pd.classify.networks import build

SHAPE, LATENT = (1, 8, 8), 5


@pytest.fixture(scope="module")
def parts() -> tuple[torch.nn.Module, Vae, torch.Tensor]:
    torch.manual_seed(1)
    vae = Vae(LATENT, SHAPE, 8).eval().requires_grad_(False)
    return build(SHAPE, 3, 2, 8).requires_grad_(False), vae, torch.rand(6, *SHAPE) * 2 - 1


def jacobian(vae: Vae, mean: torch.Tensor) -> torch.Tensor:
    """(n, pixels, d), by torch's own."""
    rows = [torch.autograd.functional.jacobian(lambda z: vae.decoder(z[None])[0].flatten(), one) for one in mean]
    return torch.stack(rows)


def test_products_with_the_jacobian(parts: tuple[torch.nn.Module, Vae, torch.Tensor]) -> None:
    _, vae, pictures = parts
    mean, _ = vae.encode(pictures)
    whole, steps = jacobian(vae, mean), torch.randn(6, LATENT)
    torch.testing.assert_close(
        along(vae, mean, steps).flatten(1), torch.einsum("npd,nd->np", whole, steps), rtol=1e-4, atol=1e-6
    )
    gradient = torch.randn(6, *SHAPE)
    expected = torch.einsum("npd,np->nd", whole, gradient.flatten(1))
    torch.testing.assert_close(back(vae, mean, gradient), expected, rtol=1e-4, atol=1e-5)


def test_tangent_lies_in_the_tangent_space_and_normal_off_it(parts: tuple[torch.nn.Module, Vae, torch.Tensor]) -> None:
    classifier, vae, pictures = parts
    moved = tangent(classifier, vae, pictures, torch.randn(6, LATENT), 2.0)
    mean, _ = vae.encode(pictures)
    for picture, whole in zip(moved.flatten(1).double(), jacobian(vae, mean).double(), strict=True):
        step = torch.linalg.lstsq(whole, picture[:, None]).solution
        assert float((whole @ step - picture[:, None]).norm() / picture.norm()) < 1e-4
        assert float(step.norm()) == pytest.approx(2.0, rel=1e-3)
    off = normal(classifier, pictures, moved, torch.randn(6, *SHAPE), 0.7)
    cosine = torch.nn.functional.cosine_similarity(off.flatten(1), moved.flatten(1))
    assert float(cosine.abs().max()) < 1e-3
    torch.testing.assert_close(off.flatten(1).norm(dim=1), torch.full((6,), 0.7), rtol=1e-4, atol=0)


def test_found_directions_move_the_prediction_more_than_random_ones(parts: tuple[torch.nn.Module, Vae, torch.Tensor]) -> None:
    classifier, vae, pictures = parts
    logits = classifier(pictures)
    start, length = torch.randn(6, LATENT), 0.1
    found = tangent(classifier, vae, pictures, start, length)
    mean, _ = vae.encode(pictures)
    unit = start / start.norm(dim=1, keepdim=True)
    random = along(vae, mean, length * unit)
    assert float(divergence(logits, classifier(pictures + found))) > float(divergence(logits, classifier(pictures + random)))
    off = torch.randn(6, *SHAPE)
    adverse = normal(classifier, pictures, found, off, 0.1)
    plain = 0.1 * off / off.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert float(divergence(logits, classifier(pictures + adverse))) > float(divergence(logits, classifier(pictures + plain)))


def test_a_neighbour_is_as_far_in_the_latent_as_asked(parts: tuple[torch.nn.Module, Vae, torch.Tensor]) -> None:
    _, vae, pictures = parts
    direction = torch.randn(6, LATENT)
    mean, _ = vae.encode(pictures)
    at = mean + 1.5 * direction / direction.norm(dim=1, keepdim=True)
    torch.testing.assert_close(neighbours(vae, pictures, direction, 1.5), vae.decoder(at) - vae.decoder(mean))
