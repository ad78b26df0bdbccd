"""The learning rate of a step."""

import math

from pd.config.training import TrainingSettings

FLOOR = 0.01  # of the peak, at the end of a cosine


def rate(settings: TrainingSettings, step: int) -> float:
    """The learning rate of a step, from 0: linear warm-up, then constant, or a cosine down to a hundredth of the peak."""
    warmup = round(settings.warmup * settings.steps)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    if settings.schedule == "constant":
        return settings.learning_rate
    share = (step - warmup) / max(1, settings.steps - warmup)
    return settings.learning_rate * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))
