"""Hostile inputs to the readers, and to what shows what was read: a result or one line, and nothing written elsewhere.

benchmarks/fuzz.py feeds more of the same.
"""

import numpy as np
import pytest
from hostile.targets import TARGETS, watched

QUICK = {"image": 200, "terminal": 100}  # the others 40: each reads a data set
WHOLE = 1500


def feed(name, folder, numbers):
    for number in numbers:
        rng = np.random.default_rng([11, list(TARGETS).index(name), number])
        try:
            with watched(folder / "x") as root:
                TARGETS[name](root, rng)
        except Exception as error:
            raise AssertionError(f"{name}, input {number}") from error


@pytest.mark.parametrize("name", TARGETS)
def test_a_few(name, tmp_path):
    feed(name, tmp_path, range(QUICK.get(name, 40)))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", TARGETS)
def test_many(name, tmp_path):
    feed(name, tmp_path, range(WHOLE))
