"""Privacy distillation: share a generative model of people's images that leaks nobody, and show it."""

import os

__version__ = "0.1.0"

# OpenMP's threads spin while they wait for each other. On a machine that does anything else beside, that wait takes whole time
# slices: a training step on 2 cores took 9.2 s with another busy process, 0.56 s once waiting threads sleep. It must be set
# before torch is loaded; workers that Ray starts inherit it (see engine/runtime.py).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
