"""Settings of the private classifier: a network that names classes, given away with an epsilon."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pd.config.base import Positive, Section
from pd.config.training import TrainingSettings

Part = Annotated[float, Field(gt=0, lt=1)]


class ClassifierSettings(Section):
    """A classifier that learns from the members through noisy votes of teachers (PATE), or through noisy gradients."""

    label: Annotated[str, Field(min_length=1)] = Field(description="the column that makes the classes")
    method: Literal["pate", "generated", "vae", "tangent_normal", "dp_sgd"] = Field(
        "pate",
        description="pate: teachers vote on noise or public pictures; generated: on pictures of a generator that saw no data; "
        "vae: and the student is steady along its latents; tangent_normal: along adversarial directions (arXiv 2409.02404); "
        "dp_sgd: no votes, noisy gradients",
    )
    epsilon: Annotated[float, Field(gt=0)] = Field(10.0, description="most that the whole may spend")
    delta: Annotated[float, Field(gt=0, lt=1)] = Field(1e-5, description="below 1 / people")
    images_per_person: Positive = Field(4, description="images of a person that enter; others are left out")
    teachers: Annotated[int, Field(ge=2)] = Field(50, description="how many; each learns from its own people")
    queries: Positive = Field(500, description="pictures that the teachers are asked about")
    queries_from: Literal["noise", "public"] = Field("public", description="pate: noise, or pictures of the section `public`")
    votes: Literal["gnmax", "confident"] = Field(
        "gnmax", description="confident: only where most teachers agree; the check costs, too"
    )
    answers: Positive | None = Field(None, description="confident: answers at most; empty: half of the queries")
    threshold: Part = Field(0.6, description="confident: share of the teachers that must agree")
    check_ratio: Annotated[float, Field(gt=0)] = Field(2.0, description="confident: noise of the check over noise of a vote")
    sigma: Annotated[float, Field(gt=0)] | None = Field(
        None, description="noise on each count, in votes; empty: what epsilon asks for"
    )
    rounds: Positive = Field(5, description="generated: generator, queries and student take turns so often")
    accounting: Literal["sound", "paper"] = Field(
        "sound", description="paper: the generator learns against a network of all private data: no guarantee; for study"
    )
    against: Literal["student", "dp_sgd"] = Field(
        "student", description="sound: whom the generator learns against: the student, or a classifier by dp_sgd"
    )
    against_share: Part = Field(0.3, description="against dp_sgd: its share of the budget (of mu squared)")
    accept_no_guarantee: bool = Field(False, description="release a classifier of `paper` accounting all the same")
    width: Positive = Field(32, description="channels of the networks")
    batch: Positive = Field(64, description="images a step")
    latent: Positive = Field(32, description="numbers of a latent of generator and VAE")
    one_hot: Annotated[float, Field(ge=0)] = Field(1.0, description="generator: weight of one-hot cross-entropy")
    activation: Annotated[float, Field(ge=0)] = Field(0.1, description="generator: weight of large activations")
    entropy: Annotated[float, Field(ge=0)] = Field(5.0, description="generator: weight of classes alike often")
    tangent: Annotated[float, Field(gt=0)] = Field(5.0, description="length of a step in the VAE's latent (L2)")
    normal: Annotated[float, Field(gt=0)] = Field(1.0, description="length of a step off the tangent, pixels in [-1, 1] (L2)")
    steady: Annotated[float, Field(ge=0)] = Field(
        0.1,
        description="weight of being steady and sure on generated pictures; more lets the student forget the answers (ours)",
    )
    teacher: TrainingSettings = Field(TrainingSettings(steps=300), description="of each teacher")
    student: TrainingSettings = Field(TrainingSettings(steps=600), description="of the student")
    generator: TrainingSettings = Field(TrainingSettings(steps=300), description="of the generator, each round, and the VAE")
    sgd_steps: Positive = Field(300, description="dp_sgd: private steps")
    sgd_batch: Positive = Field(512, description="dp_sgd: people a step, on average")
    sgd_clip: Annotated[float, Field(gt=0)] = Field(1.0, description="dp_sgd: largest norm of a person's gradient")
    sgd_rate: Annotated[float, Field(gt=0)] = Field(2e-3, description="dp_sgd: learning rate (Adam, constant)")
    sgd_ema: Annotated[float, Field(ge=0, lt=1)] = Field(0.98, description="dp_sgd: decay of the averaged weights")
    sgd_micro_batch: Positive = Field(64, description="dp_sgd: people a forward")
    baseline: Literal["off", "private", "card"] = Field(
        "off",
        description="train dp_sgd at the same epsilon beside it: for you alone, or named on the card, which then costs both",
    )
    canaries: Annotated[int, Field(ge=0)] = Field(
        0, description="in a twin training that is never released, for a lower bound on epsilon; 0: not measured"
    )
    shadows: Annotated[int, Field(ge=0, multiple_of=2)] = Field(
        0, description="classifiers of half of the people, for membership inference; 0: not measured"
    )
    onnx: bool = Field(True, description="write model.onnx, too (needs the package onnx)")
    reproducible: bool = Field(
        False, description="noise from the run's seed: repeatable, and no guarantee to whoever knows the seed"
    )

    @property
    def generates(self) -> bool:
        """Whether a generator makes the queries."""
        return self.method in ("generated", "vae", "tangent_normal")

    @property
    def asks_public(self) -> bool:
        """Whether queries are pictures of the section `public`."""
        return self.method == "pate" and self.queries_from == "public"

    @model_validator(mode="after")
    def _go_together(self) -> Self:
        if self.accounting == "paper" and not self.generates:
            raise ValueError("accounting = paper is of a generator's queries: set another method, or accounting: sound")
        if self.accounting == "paper" and self.against != "student":
            raise ValueError("accounting = paper learns against a network of all private data: leave `against` out")
        if self.answers is not None and self.votes != "confident":
            raise ValueError("answers is of votes: confident")
        if self.answers is not None and self.answers > self.queries:
            raise ValueError(f"{self.answers} answers to {self.queries} queries: set fewer answers")
        turns = self.rounds if self.generates and self.against == "student" else 1
        if self.queries < turns:
            raise ValueError(f"{self.queries} queries in {self.rounds} rounds: set more queries, or fewer rounds")
        given = self.answers or self.queries // 2
        if self.votes == "confident" and self.accounting == "sound" and turns > 1 and given < turns:
            raise ValueError(f"{given} answers in {self.rounds} rounds: set more answers or queries, or fewer rounds")
        if self.width % max(1, self.width // 8):
            raise ValueError(f"width = {self.width} makes no groups of equal size: set a multiple of 8")
        return self
