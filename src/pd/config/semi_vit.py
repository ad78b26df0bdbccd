"""Settings of vision transformers, and of learning with few labels by them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pd.config.base import DiskPath, Positive, Section

Share = Annotated[float, Field(ge=0, le=1)]
LEAST_PATCH, MOST_PATCHES = 4, 16  # pixels; patches a side: attention takes the fourth power of them  # ours


class VitSettings(Section):
    """A vision transformer."""

    name: str = Field("tiny", description="tiny: from scratch, of the sizes below; or timm:ARCHITECTURE, one of timm's")
    weights: DiskPath | None = Field(
        None, description="safetensors on a disk that a timm:ARCHITECTURE starts from; empty: random. Nothing is downloaded"
    )
    patch: Positive | None = Field(
        None,
        description="pixels of a patch's side (tiny); must divide data.size. Empty: the least that does and is at least 4 and "
        "a sixteenth of data.size",
    )
    width: Positive = Field(96, description="width (tiny)")
    depth: Positive = Field(4, description="blocks (tiny)")
    heads: Positive = Field(3, description="attention heads (tiny); must divide width")
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None,
        description="learning rate of each layer over that of the next; empty: 0.65 with weights or masked pre-training, "
        "0.85 from scratch",
    )

    def patched(self, side: int) -> Self:
        """With the patch for images of this side as a number (tiny)."""
        if self.name != "tiny" or self.patch is not None:
            return self
        least = max(LEAST_PATCH, side // MOST_PATCHES)
        patch = next((size for size in range(least, side) if side % size == 0), side)
        return self.model_copy(update={"patch": patch})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.name != "tiny" and not (self.name.startswith("timm:") and len(self.name) > 5):
            raise ValueError(f"no network '{self.name}': tiny, or timm:ARCHITECTURE")
        if self.name == "tiny" and self.weights is not None:
            raise ValueError("weights are for timm:ARCHITECTURE; tiny learns from scratch")
        if self.name == "tiny" and self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide a width of {self.width}")
        return self


class SemiVitSettings(Section):
    """Few labels: a vision transformer learns from them, then also from unlabelled images (Semi-ViT)."""

    network: VitSettings = VitSettings()
    batch: Positive = Field(32, description="labelled images a step")
    ratio: Annotated[int, Field(ge=3)] = Field(
        5, description="unlabelled images a step for each labelled one; with fewer than three, pairs of them would be twins"
    )
    supervised: Share | None = Field(
        None,
        description="share of the steps that look at labelled images alone, before the others join; empty: 0.4 with weights or "
        "masked pre-training, 0.1 from scratch",
    )
    threshold: Share | None = Field(
        None,
        description="least confidence of the surer of two unlabelled images that the loss counts; empty: 0.6 with weights or "
        "masked pre-training, 0.8 from scratch",
    )
    per_class: bool = Field(
        False,
        description="lower thresholds for classes of which the teacher is less sure (fine-grained classes); labels.least alike",
    )
    weight: Annotated[float, Field(ge=0)] | None = Field(
        None, description="of the unlabelled images' loss; empty: 5 with weights or masked pre-training, 1 from scratch"
    )
    teacher_decay: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="of the teacher's average; empty: 1 - 10 / steps, at most 0.9999. 0: the teacher is the student"
    )
    mixup: Literal["probabilistic", "plain", "none"] = Field(
        "probabilistic", description="of unlabelled images; plain: with coefficients drawn uniformly"
    )
    flip: bool = Field(True, description="mirror images at random while training; set false where left and right differ")
    mae_steps: Annotated[int, Field(ge=0)] = Field(
        0,
        description="steps of pre-training on all images but those of people who are measured on, labels unread: a masked "
        "autoencoder; 0: none. Not of audit.few_labels",
    )
    mae_mask: Annotated[float, Field(gt=0, lt=1)] = Field(0.75, description="share of the patches that it does not see")
    held: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2,
        description="pd labels: share of the labelled people, or images, that it measures on; a run has its hold-out people, "
        "and so has audit.few_labels",
    )
