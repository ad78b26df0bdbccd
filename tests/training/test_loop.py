"""The loop over steps: what it learns, that it resumes exactly, and what it refuses."""

from pathlib import Path

import pytest
import torch
from torch import nn

from pd.config.training import TrainingSettings
from pd.errors import UserError
from pd.training.loop import fit_here
from pd.training.task import Task


class Line(Task):
    """Fits y = 2x with a weight and a bias."""

    def __init__(self, key: str = "line", stop_at: int | None = None, scale: float = 1.0) -> None:
        self.key, self.stop_at, self.scale, self.seen = key, stop_at, scale, torch.zeros(1)

    def build(self):
        module = nn.Linear(1, 1)
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
        return module

    def batch(self, step, rank, world):
        x = torch.randn(8, 1, generator=torch.Generator().manual_seed(step))
        return {"x": x[rank * 8 // world : (rank + 1) * 8 // world]}

    def loss(self, module, batch, step, ranks):
        if step == self.stop_at:
            raise KeyboardInterrupt
        return {"loss": self.scale * (module(batch["x"]) - 2 * batch["x"]).square().mean()}

    def after_step(self, module, step):
        self.seen = self.seen + module.weight.detach()

    def extra_state(self):
        return {"seen": self.seen}

    def load_extra_state(self, state):
        self.seen = state["seen"]

    def export(self, module, folder: Path):
        from safetensors.torch import save_file

        save_file({"weight": module.weight.detach(), "seen": self.seen}, folder / "model.safetensors")
        return {"weight": module.weight.item()}


SETTINGS = TrainingSettings(steps=60, learning_rate=0.2, checkpoint_every=10, ema=0.5)


def test_it_learns(tmp_path):
    import json

    out = fit_here(Line(), SETTINGS, tmp_path)
    facts = json.loads((out / "facts.json").read_text())
    assert facts["weight"] == pytest.approx(2, abs=0.1)
    assert facts["steps"] == 60


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_a_stopped_training_resumes_to_the_same_bytes(tmp_path, optimiser):
    settings = SETTINGS.model_copy(update={"optimiser": optimiser})
    whole = fit_here(Line(), settings, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        fit_here(Line(stop_at=37), settings, tmp_path / "b")
    resumed = fit_here(Line(), settings, tmp_path / "b")
    assert (whole / "model.safetensors").read_bytes() == (resumed / "model.safetensors").read_bytes()


def test_a_finished_training_is_not_repeated(tmp_path):
    first = fit_here(Line(), SETTINGS, tmp_path)
    assert fit_here(Line(stop_at=0), SETTINGS, tmp_path) == first


def test_a_loss_that_is_not_finite_ends_it(tmp_path):
    with pytest.raises(UserError, match="diverged"):
        fit_here(Line(scale=float("inf")), SETTINGS, tmp_path)
