"""A sweep that a test can kill: python sweep_script.py FOLDER TRIALS. Every trial that is run adds a line to FOLDER/log."""

import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pd.engine.sweep import run_grid
from pd.progress import silent


def slow(log: Path, shared: np.ndarray, config: Mapping[str, Any], rung: int) -> dict[str, Any]:
    time.sleep(0.2)
    with log.open("a") as file:
        file.write(f"{config['at']}\n")
    return {"value": float(shared[config["at"]]), "writeable": bool(shared.flags.writeable)}


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    configs = [{"at": at} for at in range(count)]
    found = run_grid(
        partial(slow, folder / "log"),
        np.arange(count) * 2.0,
        configs,
        folder / "sweep",
        cpus=1,
        address=None,
        progress=silent,
    )
    assert found == [{"value": at * 2.0, "writeable": False} for at in range(count)]


if __name__ == "__main__":
    main()
