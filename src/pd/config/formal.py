"""Settings of the model with a formal guarantee, and of public pictures."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pd.config.base import AnyPath, Positive, Section
from pd.config.model import ModelSettings


class PublicSettings(Section):
    """Public pictures, free for everybody: attackers, queries and pre-training may see them."""

    reader: Literal["folder", "manifest"] = Field("folder", description="as data.reader")
    path: AnyPath = Field(description="the folder, or the manifest file")
    caption: str = Field("a photo of a person", description="caption of pictures that come without one")


class FormalSettings(Section):
    """A model with an epsilon: it learns from the members through noise that a ledger accounts for."""

    method: Literal["dp_sgd", "dp_sad"] = Field(
        "dp_sgd", description="dp_sgd: private gradients; dp_sad: a student of such a teacher (arXiv 2408.14738, mended)"
    )
    epsilon: Annotated[float, Field(gt=0)] = Field(10.0, description="most that the whole may spend")
    delta: Annotated[float, Field(gt=0, lt=1)] = Field(1e-5, description="below 1 / people")
    images_per_person: Positive = Field(4, description="images of a person that enter; others are left out")
    model: ModelSettings = Field(
        ModelSettings(unet="tiny", steps=600, batch=128, workers=0, samples_every=0),
        description="the network, and its training on what is public or noisy already (warm-up, public pictures, samples)",
    )
    warm_up: Literal["none", "means", "moments"] = Field(
        "moments",
        description="first learn from noisy means of each caption's images (arXiv 2504.01395); moments: and covariances",
    )
    warm_up_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="of the budget (of mu squared) that the warm-up's noisy sums spend"
    )
    public: bool = Field(False, description="pre-train on the pictures of the section `public`")
    steps: Positive | None = Field(None, description="private steps; empty: 50 to 600, what the budget carries at a noise of 1")
    batch: Positive | None = Field(None, description="people a private step, on average; empty: a sixtieth of all, at least 64")
    clip: Annotated[float, Field(gt=0)] = Field(1.0, description="largest norm of a person's gradient")
    learning_rate: Annotated[float, Field(gt=0)] = Field(5e-4, description="of private steps (Adam, constant)")
    noise_draws: Positive = Field(4, description="noise levels a person and step, averaged before clipping (arXiv 2210.09929)")
    micro_batch: Positive = Field(64, description="people a forward: memory follows it, not the batch")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(0.98, description="decay of the averaged weights; it costs no privacy")
    workers: Annotated[int, Field(ge=0)] = Field(0, description="Ray Train workers of the private steps; 0: in this process")
    checkpoint_every: Positive = Field(20, description="private steps between checkpoints")
    teacher: Literal["dp_sgd", "ensemble"] = Field(
        "dp_sgd", description="dp_sad: dp_sgd: a private teacher, all after it is free; ensemble: teachers on disjoint people"
    )
    teachers: Annotated[int, Field(ge=2)] = Field(10, description="ensemble: how many; a person is in one")
    adversary: bool = Field(True, description="dp_sad: a discriminator of teacher's and student's outputs; not for an ensemble")
    student_steps: Positive = Field(600, description="dp_sad: steps of the student")
    accounting: Literal["sound", "paper"] = Field(
        "sound", description="paper: dp_sad as published, which has no guarantee; for study"
    )
    accept_no_guarantee: bool = Field(False, description="release a model of `paper` accounting all the same")
    samples: Annotated[int, Field(ge=0)] = Field(1024, description="images that are released with the model")
    release: Literal["all", "weights"] = Field(
        "all", description="weights: no samples, prompts or audit figures, which come from private data by other rules"
    )
    canaries: Annotated[int, Field(ge=0)] = Field(
        0, description="in a twin training that is never released, for a lower bound on epsilon; 0: not measured"
    )
    reproducible: bool = Field(
        False, description="noise from the run's seed: repeatable, and no guarantee to whoever knows the seed"
    )

    @model_validator(mode="after")
    def _go_together(self) -> "FormalSettings":
        if self.accounting == "paper" and self.method != "dp_sad":
            raise ValueError("accounting = paper is of dp_sad as published: set method: dp_sad, or accounting: sound")
        if self.model.autoencoder == "train":
            raise ValueError(
                "model.autoencoder = train would learn from private images without protection: set bundled, or base"
            )
        return self
