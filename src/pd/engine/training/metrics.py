"""What a training tells Ray's metrics, from the driver: Prometheus scrapes them where it runs."""

from collections.abc import Mapping
from typing import Any

_GAUGES = {
    "step": ("pd_training_step", "Optimiser steps done."),
    "steps": ("pd_training_steps", "Optimiser steps in all."),
    "loss": ("pd_training_loss", "Loss of the last steps."),
    "images_per_s": ("pd_training_images_per_second", "Images trained on, a second, over all workers."),
    "mfu": ("pd_training_mfu", "Model FLOPs utilisation, 0 to 1."),
    "memory_gb": ("pd_training_memory_gigabytes", "The largest worker's peak memory, 1e9 bytes."),
}


class TrainingMeters:
    """The gauges of one training.

    Args:
        model: whose it is: teacher, student, or a comparison arm.
    """

    def __init__(self, model: str) -> None:
        from ray.util.metrics import Gauge

        self._tags = {"model": model}
        self._gauges = {key: Gauge(name, words, ("model",)) for key, (name, words) in _GAUGES.items()}

    def show(self, record: Mapping[str, Any]) -> None:
        """Set the gauges of a training's record; while it prepares, steps count images, and no gauge is of that."""
        if record.get("phase", "training") != "training":
            return
        for key, gauge in self._gauges.items():
            if isinstance(record.get(key), int | float):
                gauge.set(record[key], self._tags)
