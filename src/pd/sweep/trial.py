"""What one trial of a sweep tries, and which trials there are: all follow from (seed, number)."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from pd.config import Settings
from pd.seeds import derive


@dataclass(frozen=True)
class Trial:
    """A point of the search space.

    Attributes:
        reid_quantile: stranger quantile of re-identification; None: the calibration stays as the settings say.
        near_copy_quantile: the near-copy detector's.
        detectors: which of the two may drop a candidate.
        vote: how several networks decide.
        prompt_k: people who must share a prompt.
        guidance: of sampling.
        candidates: how many.
    """

    reid_quantile: float | None
    near_copy_quantile: float
    detectors: Literal["both", "reid", "near_copy", "neither"]
    vote: Literal["any", "majority"]
    prompt_k: int
    guidance: float
    candidates: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The settings as they are."""
        reid, near_copy = settings.filter.reid, settings.filter.near_copy
        return cls(
            reid_quantile=None,
            near_copy_quantile=settings.filter.near_copy_quantile,
            detectors=("both" if near_copy else "reid") if reid else ("near_copy" if near_copy else "neither"),
            vote=settings.filter.vote,
            prompt_k=settings.generate.prompt_k,
            guidance=settings.generate.guidance,
            candidates=settings.generate.candidates,
        )

    def apply(self, settings: Settings) -> Settings:
        """The settings with this point in them, for `pd run`."""
        tree = settings.model_dump(mode="json")
        if self.reid_quantile is not None:
            tree["reid"]["calibration"] |= {"method": "stranger_quantile", "quantile": self.reid_quantile}
        tree["filter"] |= {
            "reid": self.detectors in ("both", "reid"),
            "near_copy": self.detectors in ("both", "near_copy"),
            "near_copy_quantile": self.near_copy_quantile,
            "vote": self.vote,
        }
        tree["generate"] |= {"prompt_k": self.prompt_k, "guidance": self.guidance, "candidates": self.candidates}
        return Settings.model_validate(tree)


def choices(settings: Settings, *, full: bool) -> dict[str, list[Any]]:
    """The values to choose among, of each of a trial's attributes that is no quantile.

    Args:
        settings: `sweep` says what is searched; what stands elsewhere is always among the values.
        full: guidance and number of candidates too, which cached scores cannot tell of.
    """
    asked, made = settings.sweep, settings.generate
    votes = asked.votes if settings.reid.voters > 1 else (settings.filter.vote,)
    return {
        "detectors": list(asked.detectors),
        "vote": list(dict.fromkeys(votes)),
        # Smaller ones than the run's cannot be tried: such prompts were never asked for.
        "prompt_k": sorted({made.prompt_k, *(k for k in asked.prompt_k if k > made.prompt_k)}),
        "guidance": sorted({made.guidance, *(asked.guidance if full else ())}),
        "candidates": sorted({made.candidates, *(asked.candidates if full else ())}),
    }


def without_effect(settings: Settings) -> list[str]:
    """Lines for people: what `sweep` asks for and a search like this one cannot try."""
    asked, made = settings.sweep, settings.generate
    lines = []
    if few := [k for k in asked.prompt_k if k < made.prompt_k]:
        lines.append(
            f"sweep.prompt_k: {', '.join(map(str, few))} not tried: the candidates show captions of {made.prompt_k} people or "
            "more (generate.prompt_k)"
        )
    for name, values, own in (("guidance", asked.guidance, made.guidance), ("candidates", asked.candidates, made.candidates)):
        if not asked.full and set(values) - {own}:
            lines.append(f"sweep.{name}: not tried: other candidates take full trials, --full 8")
    return lines


def draw_trials(settings: Settings) -> list[Trial]:
    """The cheap trials: the settings as they are, then points of a Halton sequence.

    Such points fill a space more evenly than independent draws (Bergstra & Bengio 2012 name them as the better random
    search), and the first n are the same however many follow.
    """
    from scipy.stats.qmc import Halton

    named = choices(settings, full=False)
    points = Halton(2 + len(named), rng=derive(settings.seed, "sweep")).random(settings.sweep.trials)
    ranges = settings.sweep.reid_quantile, settings.sweep.near_copy_quantile
    trials = [Trial.of(settings)]
    for point in points[1:]:
        reid, near_copy = (round(low + (high - low) * float(x), 4) for (low, high), x in zip(ranges, point, strict=False))
        chosen = {name: values[int(x * len(values))] for (name, values), x in zip(named.items(), point[2:], strict=True)}
        trials.append(Trial(reid_quantile=reid, near_copy_quantile=near_copy, **chosen))
    return trials
