"""Settings of the ways to train a recogniser, one model a method."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from pd.config.base import Section

VIEWS = ("clear", "blurred", "noisy", "low contrast", "half hidden", "eyes hidden", "boxes", "blobs", "masked")
"""What a picture may be shown as; besides these `RxR`, brought down to R x R pixels and up again."""
_RESOLUTION = re.compile(r"([1-9]\d{0,3})x\1")


def resolution_of(view: str) -> int | None:
    """R of a view `RxR`; None of another."""
    found = _RESOLUTION.fullmatch(view)
    return int(found[1]) if found else None


def _known(value: str) -> str:
    if value not in VIEWS and resolution_of(value) is None:
        raise ValueError(f"no view '{value}': write one of {', '.join(VIEWS)}, or a resolution such as 8x8")
    return value


View = Annotated[str, AfterValidator(_known)]
Views = Annotated[tuple[View, ...], Field(min_length=1)]
Weight = Annotated[float, Field(ge=0)]


class SupconSettings(Section):
    """Supervised contrast of augmented copies."""

    name: Literal["supcon"] = "supcon"


class CrrcdSettings(Section):
    """Cross-resolution relational contrastive distillation: for low resolution."""

    name: Literal["crrcd"] = "crrcd"
    views: Views = Field(("clear", "8x8", "12x12", "16x16"), description="what the student sees")  # ours
    knowledge: Weight = Field(0.9, description="weight of the teacher's class scores")
    temperature: Annotated[float, Field(gt=0)] = Field(4.0, description="of the class scores")
    contrast: Literal["relations", "instances"] = Field("relations", description="instances: CRD instead (arXiv 1910.10699)")
    weight: Weight = Field(2.0, description="of the contrast")
    negatives: Annotated[int, Field(gt=0)] = Field(16, description="negatives of each pair")


class AirdSettings(Section):
    """Adaptable instance-relation distillation: for low resolution and a shift of domain."""

    name: Literal["aird"] = "aird"
    views: Views = Field(
        ("clear", "8x8", "12x12", "16x16", "blurred", "noisy", "low contrast"), description="what the student sees"
    )  # ours
    cross_entropy: Weight = Field(1.0, description="weight of the people's classes")  # ours
    instance: Weight = Field(1.0, description="weight of the distance to the teacher's embedding")
    relation: Weight = Field(1.0, description="weight of the distance between the two matrices of cosines")


class G2dSettings(Section):
    """Generative to discriminative distillation: for masked and half-hidden people."""

    name: Literal["g2d"] = "g2d"
    views: Views = Field(
        ("clear", "half hidden", "eyes hidden", "boxes", "blobs", "masked"), description="what the encoder is shown"
    )  # ours
    reformer: bool = Field(True, description="a network on top of the frozen encoder; off: its features as they are")
    relation: Weight = Field(1.0, description="weight of the distance between the two matrices of cosines")


MethodSettings = SupconSettings | CrrcdSettings | AirdSettings | G2dSettings
METHODS: Mapping[str, MethodSettings] = {
    one.name: one for one in (SupconSettings(), CrrcdSettings(), AirdSettings(), G2dSettings())
}
"""Each as it is by default."""


def _named(value: Any) -> Any:
    """`crrcd` for `{name: crrcd}`, and one for a list of one."""
    if isinstance(value, str | dict | Section):
        value = (value,)
    if isinstance(value, list | tuple):
        return tuple({"name": one} if isinstance(one, str) else one for one in value)
    return value


Methods = Annotated[
    Annotated[tuple[Annotated[MethodSettings, Field(discriminator="name")], ...], Field(min_length=1)], BeforeValidator(_named)
]
"""One method, or several whose networks vote; a name stands for its defaults."""
