"""The noise schedule, as the diffusers scheduler that samples with it and is released with the model.

Training reads its cumulated alphas from the same object: a model is never sampled on another schedule than it learned.
"""

from typing import Any

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from pd.config import ModelSettings
from pd.errors import UserError

# Stable Diffusion's betas (Rombach et al., arXiv 2112.10752).
STABLE_DIFFUSION: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}


def build(settings: ModelSettings, base: DPMSolverMultistepScheduler | None = None) -> DPMSolverMultistepScheduler:
    """DPM-Solver++ 2M (Lu et al., arXiv 2211.01095) with the settings' prediction and terminal SNR.

    Timestep spacing is `trailing`, without which sampling would not start at the last timestep, where the SNR is zero
    (Lin et al., arXiv 2305.08891).

    Args:
        settings: prediction, zero_terminal_snr.
        base: the scheduler of the base that is fine-tuned, whose betas are kept.

    Raises:
        UserError: the base predicts something else.
    """
    if base is not None and base.config.prediction_type != settings.prediction:
        raise UserError(
            f"the base predicts {base.config.prediction_type}",
            code="bad-model",
            where=f"prediction = {settings.prediction}",
            fix=f"set prediction: {base.config.prediction_type}"
            + (" and zero_terminal_snr: false" if base.config.prediction_type == "epsilon" else ""),
        )
    betas = STABLE_DIFFUSION if base is None else {key: base.config[key] for key in STABLE_DIFFUSION}
    if base is not None and base.config.trained_betas is not None:
        betas = betas | {"trained_betas": base.config.trained_betas}
    return DPMSolverMultistepScheduler(
        **betas,
        prediction_type=settings.prediction,
        rescale_betas_zero_snr=settings.zero_terminal_snr,
        timestep_spacing="trailing",
        # Without effect on trailing spacing; the stock pipeline warns at anything else, and puts 1 here.
        steps_offset=1,
        algorithm_type="dpmsolver++",
        solver_order=2,
        final_sigmas_type="zero",
    )


def alphas(scheduler: DPMSolverMultistepScheduler) -> Tensor:
    """abar, (T,) float32: the share of the signal's variance left at each timestep (2**-24 for none at all)."""
    cumulated: Tensor = scheduler.alphas_cumprod
    return cumulated.to(torch.float32).clone()
