"""Settings of making candidates, and of what drops them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pd.config.base import Family, Gpus, Positive, Precision, Section, Share


class GenerateSettings(Section):
    """Sampling the teacher, and scoring in the same actor."""

    candidates: Positive = Field(3072, description="samples of the teacher")
    sampler_steps: Positive = Field(15, description="DPM-Solver++ steps")
    guidance: Annotated[float, Field(ge=1)] = Field(1.0, description="classifier-free guidance scale; 1: none")
    precision: Precision = Field(
        "fp32",
        description="as a model's, of the sampling UNet; in bf16 images differ by some grey levels",
    )
    prompt_k: Positive = Field(3, description="a caption is a prompt only when this many member identities share it")
    balance_prompts: bool = Field(
        False, description="ask for each prompt equally often; else as often as members carry it (rare ones are dropped most)"
    )
    per_prompt: Positive | None = Field(
        None,
        description="so many of each prompt are kept, where needed of candidates made besides; empty: as many as there are",
    )
    shares: dict[str, Annotated[float, Field(gt=0, lt=1)]] = Field(
        {}, description="label: the share of what is kept whose prompt shows it, likewise, as in {glasses: 0.5}"
    )
    most: Positive | None = Field(None, description="candidates at most, with those made besides; empty: 4 x candidates")
    shard_size: Positive = Field(512, description="candidates per Parquet shard: what a crash can cost a worker")
    batch: Positive = Field(64, description="candidates per forward; part of the numbers' definition, not of the layout")
    workers: Annotated[int, Field(ge=0)] = Field(0, description="actors; 0: as the cluster allows")
    gpus_per_worker: Gpus = Field(0.0, description="GPUs of each actor; 0.25: four share one, for small models")
    gallery_parts: Positive = Field(
        1, description="1: every worker holds all members' rows; more: so many actors share them, where they do not fit"
    )

    @property
    def tops_up(self) -> bool:
        """Whether candidates are made besides, where too few are kept."""
        return self.per_prompt is not None or bool(self.shares)

    @property
    def at_most(self) -> int:
        """All candidates, with those made besides."""
        return self.most or 4 * self.candidates

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.most is not None and self.most < self.candidates:
            raise ValueError(f"most = {self.most} is less than candidates = {self.candidates}: it counts these, too")
        return self


class FilterSettings(Section):
    """Which checks may drop a candidate. Each writes its own reason."""

    prompt: bool = Field(True, description="its prompt is not one that `generate.prompt_k` people share")
    reid: bool = Field(True, description="re-identified as a member by the network")
    vote: Literal["any", "majority"] = Field("any", description="any | majority of `reid.networks` must recognise a member")
    near_copy: bool = Field(True, description="a member image under crop, flip, blur, noise or brightness")
    near_copy_quantile: Share = Field(0.9, description="share of strangers' images that the near-copy detector passes")
    families: tuple[Family, ...] = Field(
        ("whitened", "imagenet", "altered"), description="spaces of `reid.spaces` that may drop a candidate, each by itself"
    )
    family_quantile: Share = Field(
        0.9,
        description="share of strangers' images that each of these passes, where generated leaks say nothing else "
        "(of altered copies: near_copy_quantile)",
    )
    calibration: Literal["strangers", "leaks"] = Field(
        "strangers",
        description="of these: strangers: `family_quantile`; leaks: as samples of teachers ask for that memorise calibration "
        "people on purpose (40 people or more)",
    )
    target_excess: Share = Field(
        0.01, description="leaks: what is kept of these samples gives away at most this, at the upper end"
    )
    leak_share: Annotated[float, Field(gt=0, le=2)] = Field(
        0.5, description="leaks: steps of the memorising teachers together, as a share of the teacher's"
    )
    duplicate: bool = Field(True, description="the same pixels as an earlier candidate")
    near_duplicate: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="nearly the same picture as an earlier one that stays: cosine, 0.95 say; empty: not asked for"
    )
