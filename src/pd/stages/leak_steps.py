"""How long the teachers of generated leaks are trained."""

from pd.config import Settings


def steps_of(settings: Settings) -> int:
    """Steps of each of the two teachers: together `filter.leak_share` of the run's teacher."""
    return max(1, round(settings.filter.leak_share * settings.teacher.steps / 2))
