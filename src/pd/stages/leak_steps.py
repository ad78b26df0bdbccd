"""How long the teachers of generated leaks are trained, and where there are none."""

from pd.config import Settings
from pd.errors import UserError


def steps_of(settings: Settings) -> int:
    """Steps of each of the two teachers: together `filter.leak_share` of the run's teacher."""
    return max(1, round(settings.filter.leak_share * settings.teacher.steps / 2))


def refuse_leaks(settings: Settings) -> None:
    """Raises UserError where thresholds are to be read off generated leaks: a filter alone has no teacher that makes some."""
    if settings.filter.calibration == "leaks":
        raise UserError(
            "generated leaks come from teachers, and a filter of somebody's images trains none",
            code="bad-options",
            where="filter.calibration",
            fix="leave it out, and choose filter.family_quantile; or use `pd run`",
        )
