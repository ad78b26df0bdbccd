from diffusers import DPMSolverMultistepScheduler
from refusals import refused_as

from pd.config import ModelSettings
from pd.diffusion import schedule


def test_the_last_timestep_has_no_signal_and_sampling_starts_there() -> None:
    scheduler = schedule.build(ModelSettings())
    scheduler.set_timesteps(15)
    assert scheduler.timesteps[0] == 999
    assert schedule.alphas(scheduler)[-1] == 2**-24
    assert schedule.alphas(schedule.build(ModelSettings(zero_terminal_snr=False)))[-1] > 0.004


def test_a_base_keeps_its_betas_and_must_predict_the_same() -> None:
    base = DPMSolverMultistepScheduler(beta_schedule="linear", beta_start=0.001, beta_end=0.01, prediction_type="epsilon")
    kept = schedule.build(ModelSettings(prediction="epsilon", zero_terminal_snr=False), base)
    assert (kept.config.beta_schedule, kept.config.beta_end) == ("linear", 0.01)
    assert schedule.alphas(kept).tolist() == base.alphas_cumprod.tolist()
    with refused_as("bad-model"):
        schedule.build(ModelSettings(), base)
