"""Settings common to every training of a small network: how it is trained, not what."""

from typing import Annotated, Literal

from pydantic import Field

from pd.config.base import Elastic, Gpus, Positive, Precision, Section, Workers


class TrainingSettings(Elastic, Section):
    """How a network is trained; what it learns is in the settings of its method."""

    steps: Positive = Field(300, description="optimiser steps")
    optimiser: Literal["adamw", "sgd"] = Field("adamw", description="adamw | sgd")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-3, description="peak learning rate")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="momentum (sgd)")
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    schedule: Literal["cosine", "constant"] = Field("cosine", description="cosine: down to a hundredth of the peak")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(0.05, description="share of the steps that warm up linearly")
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(1.0, description="largest gradient norm; empty: not clipped")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="decay of the averaged weights; 0: none")
    precision: Precision = Field("fp32", description="fp32 | bf16 | auto: bf16 where the hardware is quick at it, else fp32")
    checkpoint_every: Positive = Field(200, description="steps between checkpoints")
    workers: Workers = Field(0, description="Ray Train workers; [min, max]: as many as there are; 0: in this process")
    gpus_per_worker: Gpus = Field(0.0, description="GPUs of each worker")
