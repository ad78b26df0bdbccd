import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from pd.config import ModelSettings
from pd.diffusion import schedule
from pd.diffusion.objective import Batch, add_noise, draw, loss
from pd.diffusion.order import Order

SHAPE = (2, 4, 4)


def step(number: int, batch: int = 6, images: int = 10, **options: object) -> Batch:
    return draw(3, number, **{"batch": batch, "images": images, "latent_shape": SHAPE, "caption_dropout": 0.1} | options)


def test_a_step_is_a_function_of_seed_and_step() -> None:
    one, two, other = step(5), step(5), step(6)
    assert torch.equal(one.noise, two.noise)
    assert torch.equal(one.indices, two.indices)
    assert not torch.equal(one.noise, other.noise)


def test_the_parts_of_any_number_of_workers_are_the_global_batch() -> None:
    whole = step(2, batch=12)
    for workers in (1, 2, 3, 4):
        share = 12 // workers
        parts = [whole.part(rank * share, (rank + 1) * share) for rank in range(workers)]
        assert [len(part) for part in parts] == [share] * workers
        for name in ("indices", "timesteps", "noise", "drop", "variant"):
            assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_every_image_comes_once_before_any_comes_twice() -> None:
    visited = torch.cat([step(number).indices for number in range(10)])
    epochs = visited.reshape(6, 10)
    assert all(sorted(epoch.tolist()) == list(range(10)) for epoch in epochs)
    assert not torch.equal(epochs[0], epochs[1])


def test_a_batch_may_hold_several_epochs() -> None:
    assert step(0, batch=9, images=3).indices.bincount().tolist() == [3, 3, 3]


def test_shares_and_ranges_are_as_asked() -> None:
    many = step(0, batch=4000, images=7, caption_dropout=0.25, flip=True)
    assert many.drop.float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert many.variant.float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert 0 <= many.timesteps.min() < 10
    assert 990 < many.timesteps.max() <= 999
    assert many.timesteps.float().mean().item() == pytest.approx(499.5, abs=20)
    assert many.noise.mean().item() == pytest.approx(0, abs=0.02)
    assert many.noise.std().item() == pytest.approx(1, abs=0.02)
    assert not step(0, batch=100, caption_dropout=0.0).drop.any()
    assert not step(0, batch=100).variant.any()


def test_variants_are_drawn_evenly_and_disturb_no_other_draw() -> None:
    plain, flipped = step(0, batch=6000), step(0, batch=6000, flip=True)
    many = step(0, batch=6000, flip=True, crops=3)
    assert many.variant.bincount().tolist() == pytest.approx([1000] * 6, abs=120)
    assert torch.equal(many.variant >= 3, flipped.variant == 1)
    assert step(0, batch=6000, crops=3).variant.max() == 2
    for name in ("indices", "timesteps", "noise", "drop"):
        assert torch.equal(getattr(many, name), getattr(plain, name))


def test_what_latents_are_spread_by_is_drawn_where_they_deviate() -> None:
    plain, spread = step(4), step(4, deviates=True)
    assert plain.spread is None
    assert plain.part(0, 2).spread is None
    assert spread.spread is not None
    assert spread.spread.shape == spread.noise.shape
    assert not torch.equal(spread.spread, spread.noise)
    assert torch.equal(spread.noise, plain.noise)
    assert torch.equal(spread.part(2, 5).spread, spread.spread[2:5])


def test_rows_follow_the_order_that_is_given() -> None:
    order = Order(3, 10, 2, 4)
    drawn = torch.cat([step(number, order=order).indices for number in range(5)])
    assert drawn.tolist() == order.at(np.arange(30)).tolist()


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(ValueError, match="no images"):
        step(0, images=0)


@pytest.fixture
def rows() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 5, *SHAPE, generator=generator)
    return {"latents": latents, "noise": noise, "timesteps": torch.tensor([0, 200, 500, 900, 998])}


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("gamma", [None, 5.0])
def test_a_perfect_prediction_has_no_loss(rows: dict[str, torch.Tensor], prediction: str, gamma: float | None) -> None:
    settings = ModelSettings(prediction=prediction, zero_terminal_snr=prediction == "v_prediction")  # type: ignore[arg-type]
    alphas = schedule.alphas(schedule.build(settings))
    # diffusers' own velocity is the independent reference
    ddpm = DDPMScheduler(**schedule.STABLE_DIFFUSION, rescale_betas_zero_snr=settings.zero_terminal_snr)
    target = rows["noise"]
    if prediction == "v_prediction":
        target = ddpm.get_velocity(rows["latents"], rows["noise"], rows["timesteps"])
    right = loss(target, **rows, alphas=alphas, prediction=prediction, gamma=gamma)  # type: ignore[arg-type]
    wrong = loss(target + 0.5, **rows, alphas=alphas, prediction=prediction, gamma=gamma)  # type: ignore[arg-type]
    assert right.item() == pytest.approx(0, abs=1e-9)
    assert wrong.item() > 1e-3


def test_noise_is_added_as_diffusers_adds_it(rows: dict[str, torch.Tensor]) -> None:
    alphas = schedule.alphas(schedule.build(ModelSettings(zero_terminal_snr=False)))
    expected = DDPMScheduler(**schedule.STABLE_DIFFUSION).add_noise(rows["latents"], rows["noise"], rows["timesteps"])
    torch.testing.assert_close(add_noise(**rows, alphas=alphas), expected)


def test_min_snr_caps_the_weight_of_the_error_of_x0(rows: dict[str, torch.Tensor]) -> None:
    """An error d of x0 costs min(SNR, gamma) * d^2, in whichever form the network predicts."""
    alphas, gamma, error = schedule.alphas(schedule.build(ModelSettings(zero_terminal_snr=False))), 5.0, 0.3
    abar = alphas[rows["timesteps"]].view(-1, 1, 1, 1)
    snr = (abar / (1 - abar)).flatten()
    expected = (snr.clamp(max=gamma) * error**2).mean()
    noisy, wrong = add_noise(**rows, alphas=alphas), rows["latents"] + error
    noise = (noisy - abar.sqrt() * wrong) / (1 - abar).sqrt()
    velocity = abar.sqrt() * noise - (1 - abar).sqrt() * wrong
    for prediction, predicted in (("epsilon", noise), ("v_prediction", velocity)):
        value = loss(predicted, **rows, alphas=alphas, prediction=prediction, gamma=gamma)  # type: ignore[arg-type]
        assert value.item() == pytest.approx(expected.item(), rel=1e-3)


def test_equal_parts_average_to_the_whole(rows: dict[str, torch.Tensor]) -> None:
    alphas = schedule.alphas(schedule.build(ModelSettings()))
    four = {key: value[:4] for key, value in rows.items()}
    predicted = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1))

    def value(part: slice) -> torch.Tensor:
        cut = {key: item[part] for key, item in four.items()}
        return loss(predicted[part], **cut, alphas=alphas, prediction="v_prediction", gamma=5.0)

    torch.testing.assert_close((value(slice(0, 2)) + value(slice(2, 4))) / 2, value(slice(0, 4)))


def test_noise_offset_adds_a_constant_to_each_channel_and_moves_nothing_else() -> None:
    plain, offset = step(3, batch=2000), step(3, batch=2000, noise_offset=0.5)
    added = offset.noise - plain.noise
    assert torch.equal(step(3, batch=2000, noise_offset=0.5).noise, offset.noise)
    torch.testing.assert_close(added, added[:, :, :1, :1].expand_as(added), atol=1e-6, rtol=0)
    constants = added[:, :, 0, 0]
    assert constants.std().item() == pytest.approx(0.5, rel=0.05)
    assert constants.mean().item() == pytest.approx(0, abs=0.03)
    assert torch.corrcoef(constants.T)[0, 1].item() == pytest.approx(0, abs=0.07)  # each channel its own
    for name in ("indices", "timesteps", "drop", "variant"):
        assert torch.equal(getattr(plain, name), getattr(offset, name))
