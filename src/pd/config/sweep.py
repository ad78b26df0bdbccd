"""Settings of the search for thresholds."""

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, field_validator

from pd.config.base import Positive, Section, Share

# What a trial of a sweep is judged by, and whether more of it is better. All are shares in [0, 1].
FIGURES: Mapping[str, bool] = {
    "excess": False,
    "excess_low": False,
    "excess_high": False,
    "utility": True,
    "utility_low": True,
    "utility_high": True,
    "kept": True,
    "coverage": True,
    "balance": True,
}
CONSTRAINT = re.compile(r"\s*([a-z_]+)\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")
Detectors = Literal["both", "reid", "near_copy"]
Range = tuple[Share, Share]


class SweepSettings(Section):
    """The search for thresholds (`pd sweep`): nothing that `pd run` does depends on it."""

    trials: Positive = Field(200, description="cheap trials, on cached scores; the first is the settings as they are")
    full: Annotated[int, Field(ge=0)] = Field(0, description="full trials: a short student is trained and attacked in each")
    reid_quantile: Range = Field((0.5, 1.0), description="from, to: stranger quantile of re-identification")
    near_copy_quantile: Range = Field((0.5, 1.0), description="from, to: the near-copy detector's")
    detectors: Annotated[tuple[Detectors, ...], Field(min_length=1)] = Field(
        ("both", "reid", "near_copy"), description="which may drop a candidate"
    )
    votes: Annotated[tuple[Literal["any", "majority"], ...], Field(min_length=1)] = Field(
        ("any", "majority"), description="how several networks vote; without effect where there is one"
    )
    prompt_k: tuple[Positive, ...] = Field(
        (), description="values of generate.prompt_k above the run's, [5, 10] say; to choose one means another teacher"
    )
    guidance: tuple[Annotated[float, Field(ge=1)], ...] = Field((), description="guidance scales to try in full trials")
    candidates: tuple[Positive, ...] = Field((), description="numbers of candidates to try in full trials")
    samples: Positive = Field(2048, description="candidates that attackers look at, drawn by seed; all count for the rest")
    resamples: Positive = Field(200, description="resamples behind each trial's interval")
    steps: Annotated[int, Field(ge=2)] = Field(200, description="training steps of full trials' students at the most")
    rungs: Annotated[int, Field(ge=1, le=6)] = Field(
        3, description="students of a full trial, each of twice the steps; poor trials end early (ASHA)"
    )
    cpus_per_trial: Annotated[float, Field(gt=0)] = Field(1.0, description="CPUs of each trial")
    gpus_per_trial: Annotated[float, Field(ge=0)] = Field(0.0, description="GPUs of each full trial")
    objectives: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("excess", "kept", "coverage"), description=f"what the Pareto set is of; of {', '.join(FIGURES)}"
    )
    constraints: tuple[str, ...] = Field(
        ("excess_high <= 0.1", "kept >= 0.2"), description="what the chosen trial must keep: FIGURE <= | >= | < | > NUMBER"
    )
    prefer: str = Field("kept", description="the best in this is chosen of the trials that keep the constraints")

    @field_validator("objectives", "prefer", mode="after")
    @classmethod
    def _known(cls, value: tuple[str, ...] | str) -> tuple[str, ...] | str:
        for name in (value,) if isinstance(value, str) else value:
            _check_figure(name)
        return value

    @field_validator("constraints", mode="after")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            found = CONSTRAINT.fullmatch(text)
            if not found:
                raise ValueError(f"'{text[:60]}' is no constraint; write excess_high <= 0.02")
            _check_figure(found[1])
        return value

    @field_validator("reid_quantile", "near_copy_quantile", mode="after")
    @classmethod
    def _rising(cls, value: Range) -> Range:
        if value[0] > value[1]:
            raise ValueError("write [from, to] with from <= to")
        return value


def _check_figure(name: str) -> None:
    if name not in FIGURES:
        near = difflib.get_close_matches(name, FIGURES, n=1)
        mend = f"did you mean '{near[0]}'?" if near else f"a search measures {', '.join(FIGURES)}"
        raise ValueError(f"no figure '{name[:40]}'; {mend}")
