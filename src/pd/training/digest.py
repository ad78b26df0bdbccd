"""How a network is trained, in short, for the key of a task whose result depends on it."""

from pd.config import digest_of
from pd.config.training import TrainingSettings

_LAYOUT = {"workers", "gpus_per_worker", "checkpoint_every"}


def training_digest(settings: TrainingSettings) -> str:
    """16 hex digits that change with how networks are trained, and not with how the work is laid out."""
    return digest_of(settings.model_dump(mode="json", exclude=_LAYOUT))
