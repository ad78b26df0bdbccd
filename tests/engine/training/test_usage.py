"""Figures of a training: speed, MFU, memory; and the end of one whose loss runs away."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from rich.console import Console
from small_training import DATA, job_folder, settings, train, train_until, weights

from pd.diffusion.components import build
from pd.diffusion.denoiser import Denoiser
from pd.diffusion.flops import TrainingFlops
from pd.engine.training import usage
from pd.engine.training.engine import TrainEngine
from pd.engine.training.train import _show
from pd.engine.training.usage import Watch, memory_used, watch
from pd.errors import UserError
from pd.progress import Reporter
from pd.training import divergence

CPU = torch.device("cpu")


def test_mfu_is_the_models_operations_over_what_the_devices_could_do(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(usage.time, "monotonic", lambda: now[0])
    found = Watch(settings(batch=8), TrainingFlops(image=10.0, caption=3.0), peak=50.0, world=2)
    now[0] = 1000.0  # a long start, which does not count
    found.start()
    for _ in range(5):
        found.step(captions=2)
    now[0] = 1004.0
    assert found.figures() == {"images_per_s": 10.0, "mfu": (5 * 8 * 10 + 5 * 2 * 2 * 3) / 4 / 100}
    now[0] = 1008.0
    assert found.figures() == {"images_per_s": 0.0, "mfu": 0.0}
    assert found.facts() == {"mfu": (5 * 8 * 10 + 5 * 2 * 2 * 3) / 8 / 100}


def test_a_model_that_cannot_be_counted_has_no_mfu(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(usage, "training_flops", fail)
    parts = build(settings(), DATA, 1)
    found = watch(parts, Denoiser(parts, settings()), settings(), CPU, 1)
    found.step(captions=1)
    assert set(found.figures()) == {"images_per_s"}
    assert found.facts() == {"mfu": None}


def test_memory_is_the_peak_of_the_process() -> None:
    block = np.ones(40_000_000)
    now = psutil.Process().memory_info().rss / 1e9
    del block
    device, machine = memory_used(CPU)
    assert device == machine
    assert now * 0.99 < machine < psutil.virtual_memory().total / 1e9


def test_a_training_reports_all_figures(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    facts = train(tmp_path, settings(), lambda step, steps, figures: told.append(dict(figures)))
    shown = told[-1]
    assert set(shown) == {"loss", "lr", "grad", "images/s", "mfu", "memory"}
    assert re.fullmatch(r"\d\.\de-0\d", shown["lr"])
    assert float(shown["grad"]) > 0
    assert shown["mfu"].endswith("%")
    assert shown["memory"].endswith(" GB")
    assert 0 < facts["mfu"] < 3  # relative to a matrix product on the same processor, which others may have been using
    assert 0.1 < facts["memory_gb"] < 1000


def test_what_matters_of_them_fits_into_a_hundred_columns() -> None:
    out = io.StringIO()
    figures = {"loss": 0.012345, "learning_rate": 0.001, "gradient_norm": 0.5213, "images_per_s": 363.94}
    record = {"step": 1234, "steps": 2000, **figures, "mfu": 0.21, "memory_gb": 12.34}
    with Reporter(Console(file=out, width=100, force_terminal=True, color_system=None)).task("teacher") as tell:
        _show(record, tell)
    line = re.findall(r"teacher[^\r\n]* 1234/2000 [^\r\n]*", out.getvalue())[-1]
    assert "loss 0.01235  lr 1.0e-03  grad 0.52  images/s 363.9" in line
    assert len(f"{'teacher':>12}{line.removeprefix('teacher')}") <= 100


class RunsAway:
    """Losses from some step on are a hundred times what they are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        begin, micro_step = TrainEngine.begin, TrainEngine.micro_step
        steps: list[int] = []

        def note(engine: TrainEngine, step: int) -> None:
            steps.append(step)
            begin(engine, step)

        def lose(engine: TrainEngine, *given: torch.Tensor) -> torch.Tensor:
            return micro_step(engine, *given) * (100.0 if steps[-1] >= after else 1.0)

        monkeypatch.setattr(TrainEngine, "begin", note)
        monkeypatch.setattr(TrainEngine, "micro_step", lose)
        for name, value in {"WINDOW": 12, "START": 4, "RISING": 3}.items():
            monkeypatch.setattr(divergence, name, value)


@pytest.mark.exhaustive
def test_a_loss_that_runs_away_ends_a_training_at_a_step_that_no_interruption_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunsAway(monkeypatch, after=15)
    chosen = settings(steps=40, checkpoint_every=4)
    with pytest.raises(UserError) as whole:
        train(tmp_path / "whole", chosen)
    # Seven of the last twelve losses are too high after step 22; of the checkpoints at 16 and 20 the second is not kept.
    assert "training diverged: by step 22 most losses are above" in str(whole.value)
    assert "the last good checkpoint is that of step 16" in str(whole.value)
    assert not (job_folder(tmp_path / "whole") / "done.json").exists()

    train_until(tmp_path / "interrupted", chosen, 18)
    with pytest.raises(UserError) as resumed:
        train(tmp_path / "interrupted", chosen)
    assert str(resumed.value) == str(whole.value)


def test_a_spike_that_recovers_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    micro_step = TrainEngine.micro_step
    calls: list[int] = []

    def spike(engine: TrainEngine, *given: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return micro_step(engine, *given) * (1e6 if len(calls) in (15, 16) else 1.0)

    monkeypatch.setattr(TrainEngine, "micro_step", spike)
    monkeypatch.setattr(divergence, "WINDOW", 12)
    monkeypatch.setattr(divergence, "START", 4)
    assert train(tmp_path, settings(steps=26))["steps"] == 26
    assert weights(tmp_path / "out")
