"""Many small trainings by `fit_many` on all cores, against the same one after another. One thread each.

The two take turns, a part of the trainings each, so that other work on the machine meets both. Ray runs already, as in a run.
Then `fit_many` is killed half-way and called again.

Prints {"speedup", "redone"}: how many times as fast, and how many finished trainings were trained again after the kill.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import print_last, store
from torch import nn

from pd.config import ReidSettings
from pd.config.training import TrainingSettings
from pd.engine.fit_many import fit_many
from pd.engine.runtime import connect
from pd.reid.rows import PixelRows
from pd.reid.task import Recogniser

SIDE, PEOPLE, EACH, STEPS, PARTS = 32, 20, 5, 40, 4
SETTINGS = TrainingSettings(steps=STEPS, learning_rate=2e-3, checkpoint_every=10)


class Logged(Recogniser):
    """Writes a line when it begins."""

    log: Path

    def build(self) -> nn.Module:
        with self.log.open("a") as file:
            file.write(f"{self.key}\n")
        return super().build()


def tasks(folder: Path, number: int) -> list[Logged]:
    chance = np.random.default_rng(0)
    faces = chance.integers(0, 256, (PEOPLE, 8, 8, 1), dtype=np.uint8).repeat(SIDE // 8, 1).repeat(SIDE // 8, 2)
    rows = PixelRows.write(faces.repeat(EACH, 0), folder / "pixels")
    people = [f"p{row // EACH}" for row in range(PEOPLE * EACH)]
    made = [Logged(rows, people, ReidSettings(steps=STEPS), seed, "") for seed in range(number)]
    for task in made:
        task.log = folder / "log"
    return made


def speed(folder: Path, number: int) -> dict[str, float]:
    """Seconds of all trainings, side by side, one after another, and one after another with two threads."""
    every = tasks(folder, number)
    connect()
    spent = {"side_by_side": 0.0, "in_turn": 0.0, "in_turn_two_threads": 0.0}
    fit_many(tasks(folder, number + 2)[-2:], SETTINGS, folder / "warm", where="ray")  # Ray's workers have torch from now on
    for part in range(PARTS):
        chosen = every[part::PARTS]
        for name, cpus, where in (("side_by_side", 1, "ray"), ("in_turn", 1, "here"), ("in_turn_two_threads", 2, "here")):
            begin = time.perf_counter()
            fit_many(chosen, SETTINGS, folder / name, cpus=cpus, where=where)
            spent[name] += time.perf_counter() - begin
        print({name: round(seconds, 1) for name, seconds in spent.items()}, flush=True)
    return spent


def killed(folder: Path, number: int) -> tuple[int, int]:
    """Trainings that were finished when fit_many was killed, and how many of them were begun again."""
    (folder / "log").unlink(missing_ok=True)
    command = [sys.executable, __file__, "--child", str(folder), "--trainings", str(number)]
    child = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while len(list((folder / "killed").glob("*/result"))) < number // 2:
        if child.poll() is not None:
            raise RuntimeError("it ended before it was killed")
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    time.sleep(3)  # Ray's workers go when they see that the driver has gone
    done = {path.parent.name for path in (folder / "killed").glob("*/result")}
    (folder / "log").unlink()
    fit_many(tasks(folder, number), SETTINGS, folder / "killed", where="ray")
    return len(done), len(done & set((folder / "log").read_text().split()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, default=64)
    parser.add_argument("--last", action="store_true", help="print the stored figures")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("ensemble")
        return
    torch.set_num_threads(1)
    if arguments.child:
        fit_many(tasks(arguments.child, arguments.trainings), SETTINGS, arguments.child / "killed", where="ray")
        return
    with tempfile.TemporaryDirectory(prefix="ensemble-") as made:
        folder, before = Path(made), os.getloadavg()[0]
        spent = speed(folder, arguments.trainings)
        finished, redone = killed(folder, arguments.trainings)
    figures: dict[str, Any] = {
        "speedup": spent["in_turn"] / spent["side_by_side"],
        "speedup_over_two_threads": spent["in_turn_two_threads"] / spent["side_by_side"],
        "redone": redone,
        "finished_when_killed": finished,
        "trainings": arguments.trainings,
        "seconds": spent,
        "load_before": before,
    }
    store("ensemble", figures)


if __name__ == "__main__":
    main()
