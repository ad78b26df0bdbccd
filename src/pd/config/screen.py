"""Settings of the screening of clips: is this one real?"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from pd.config.base import Gpus, Positive, Section
from pd.config.training import TrainingSettings


class ScreenSettings(Section):
    """How clips are screened for forgeries (NACO). Defaults are ours: the paper's are for large sets on GPUs."""

    real: Path | None = Field(
        None,
        description="clips known to be real, a folder or manifest; empty: the data's own are taken for real",
    )
    forged: Path | None = Field(
        None, description="clips known to be forged, a folder with a sub-folder a generator; empty: made from the real ones"
    )
    rate: Annotated[float, Field(gt=0, le=60)] = Field(12.5, description="frames a second that are looked at")
    window: Annotated[int, Field(ge=4, le=128)] = Field(12, description="frames that are looked at together")
    windows: Positive = Field(8, description="windows of a clip that are scored, at most")
    seconds: Annotated[float, Field(gt=0, le=3600)] = Field(30.0, description="most that is read of a clip")
    size: Annotated[int, Field(ge=32, le=256, multiple_of=8)] = Field(64, description="side of the face, pixels")
    false_alarms: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.05, description="share of kept-out real clips that the threshold may flag"
    )
    width: Positive = Field(16, description="channels of the CNN's first layers")
    dim: Annotated[int, Field(ge=8, multiple_of=8)] = Field(96, description="width of the tokens")
    layers: Positive = Field(2, description="of the Transformer")
    batch: Positive = Field(16, description="clips a step")
    spm: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of the spatial prediction; 0: left out")
    tcm: Annotated[float, Field(ge=0)] = Field(1.0, description="weight of the temporal contrast; 0: left out")
    training: TrainingSettings = Field(
        TrainingSettings(steps=600, learning_rate=1e-3, checkpoint_every=100), description="of the pre-training"
    )
    head: TrainingSettings = Field(
        TrainingSettings(steps=300, learning_rate=1e-3, checkpoint_every=1000), description="of the head"
    )
    workers: Annotated[int, Field(ge=0)] = Field(0, description="that read clips where there are many; 0: as many as fit")
    gpus_per_worker: Gpus = Field(0, description="GPUs of each")
