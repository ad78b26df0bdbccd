"""Small trainings for tests: a convolution with batch norm, and an adversary."""

import hashlib
import os
import signal
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from pd.training.ranks import mean_gradients, share_of, shares
from pd.training.task import OwnSteps, Task


class Normed(Task):
    """Rows of noise are told apart by their sign; batch norm, dropout-free, with a loss of gathered outputs."""

    def __init__(self, name: str = "normed", rows: int = 12, die_at: int | None = None, log: Path | None = None) -> None:
        self.key = hashlib.sha256(f"{name} {rows}".encode()).hexdigest()[:16]
        self.rows, self.die_at, self.log = rows, die_at, log

    def build(self):
        if self.log is not None:
            with self.log.open("a") as file:
                file.write(f"{self.key}\n")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            # Without biases that batch norm takes away again: their gradients are rounding errors, of which Adam makes steps.
            body = [nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()]
            return nn.Sequential(*body, nn.Linear(64, 8, bias=False), nn.BatchNorm1d(8))

    def batch(self, step, rank, world):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(self.rows, 1, 6, 6, generator=generator)
        return {"x": (x + x.mean((1, 2, 3), keepdim=True))[share_of(self.rows, rank, world)]}

    def loss(self, module, batch, step, ranks):
        if step == self.die_at and ranks.rank == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        sizes = shares(self.rows, ranks.world)
        out = ranks.gather(module(batch["x"]), sizes)
        sign = ranks.gather(batch["x"].mean((1, 2, 3)), sizes).sign()
        near = out @ out.T / 10
        return {"loss": nn.functional.mse_loss(near, sign[:, None] * sign[None])}

    def export(self, module, folder):
        save_file({name: value.contiguous() for name, value in module.state_dict().items()}, folder / "model.safetensors")
        return {}


class Once(Normed):
    """Kills its worker at a step, the first time."""

    def loss(self, module, batch, step, ranks):
        if step == 8 and ranks.rank == 0 and not (flag := self.log.with_suffix(".killed")).exists():
            flag.touch()
            self.die_at = 8
        return super().loss(module, batch, step, ranks)


class Stubborn(Normed):
    """Cannot be trained with these settings."""

    def loss(self, module, batch, step, ranks):
        return {"loss": super().loss(module, batch, step, ranks)["loss"] * float("inf")}


class Adversary(OwnSteps):
    """A generator of one number against a critic: two optimisers, two steps a step."""

    key = "adversary"

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at = stop_at

    def build(self):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.ModuleDict(
                {"maker": nn.Linear(2, 1), "critic": nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1))}
            )

    def batch(self, step, rank, world):
        generator = torch.Generator().manual_seed(step)
        noise, real = torch.randn(12, 2, generator=generator), torch.randn(12, 1, generator=generator) + 3
        mine = share_of(12, rank, world)
        return {"noise": noise[mine], "real": real[mine]}

    def optimisers(self, module, settings):
        return {
            "maker": torch.optim.Adam(module["maker"].parameters(), settings.learning_rate),
            "critic": torch.optim.SGD(module["critic"].parameters(), 2 * settings.learning_rate, momentum=0.5),
        }

    def take_step(self, module, batch, step, optimisers, ranks):
        if step == self.stop_at:
            raise KeyboardInterrupt
        figures = {}
        for name in ("critic", "maker"):
            made = module["critic"](module["maker"](batch["noise"]))
            loss = -made.mean() if name == "maker" else made.mean() - module["critic"](batch["real"]).mean()
            optimisers[name].zero_grad(set_to_none=True)
            loss.backward(inputs=list(module[name].parameters()))
            mean_gradients(module[name].parameters(), ranks)
            optimisers[name].step()
            figures[name] = loss.detach()
        return {"loss": figures["critic"], **figures}

    def export(self, module, folder):
        save_file(dict(module.state_dict()), folder / "model.safetensors")
        return {}
