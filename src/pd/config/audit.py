"""Settings of the audit."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from pd.config.base import Gpus, Positive, Section
from pd.config.semi_vit import SemiVitSettings

ARMS = ("teacher", "early", "unfiltered", "random_drop", "kept", "filtered", "formal")
Arm = Literal["teacher", "early", "unfiltered", "random_drop", "kept", "filtered", "formal"]


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class AuditSettings(Section):
    """The attacks and measures on the arms."""

    arms: Annotated[tuple[Arm, ...], Field(min_length=1)] = Field(
        ("teacher", "kept", "filtered"),
        description="of teacher, early (the teacher, stopped as teacher.stop: generalises says), unfiltered, random_drop, "
        "kept (the released data), filtered, "
        "formal (the model with an epsilon)",
    )
    samples: Positive = Field(1024, description="samples of each arm")
    alpha: Annotated[float, Field(gt=0, lt=0.5)] | None = Field(
        None,
        description="stranger rate of the attackers' thresholds; empty: 0.01 from 20 strangers on, else 0.05",
    )
    attackers: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        ("imagenet", "thumbnails", "whitened", "gradients"),
        description="imagenet: a trained network that is not the filter's; thumbnails: correlation; whitened: pixels "
        "whitened within persons; gradients: edges; crrcd, aird, g2d: recognisers that see low resolution, shifts, hidden "
        "parts (learned from the section `public`, if there is one); strong: those of all these that find most in leaks "
        "planted to look like the samples; local weights: open_clip:ARCHITECTURE/WEIGHTS, torchvision:ARCHITECTURE/FILE, "
        "timm:ARCHITECTURE/FILE, network:FOLDER (as pd reid writes it), onnx:FILE; the worst that had no vote in the filter is "
        "the headline",
    )
    attacker_steps: Positive = Field(200, description="training steps of attacking networks")
    bootstrap: Positive = Field(1000, description="resamples behind each interval")
    utility_steps: Positive = Field(200, description="training steps of the classifiers behind utility")
    utility: Literal["linear", "semi_vit"] = Field(
        "linear",
        description="linear: a linear classifier on features; semi_vit: also what a recipient with few real labels gains from "
        "the release, a curve over their number, by networks that learn from labelled and unlabelled images (minutes to hours)",
    )
    few_labels: SemiVitSettings = Field(SemiVitSettings(), description="of utility: semi_vit")
    planted: Positive = Field(1000, description="leaks of each kind planted to see what the filter catches, at most")
    features: str | None = Field(
        None,
        description="an encoder of your field for utility, fidelity and coverage, with local weights: onnx:FILE, "
        "open_clip:ARCHITECTURE/WEIGHTS, timm:ARCHITECTURE/WEIGHTS; empty: EfficientNet-Lite0",
    )
    adherence: str | None = Field(
        None, description="open_clip:ARCHITECTURE/WEIGHTS to say how well samples fit their prompts; empty: not measured"
    )
    shadows: Annotated[int, Field(ge=0, multiple_of=2)] | Literal["auto"] = Field(
        "auto",
        description="models trained as the teacher is, for membership inference by likelihood ratio: 16, say; 0: none; "
        "auto: as many short ones, up to four, as add at most half to the run's work",
    )
    shadow_steps: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="their steps, as a share of the teacher's; empty: all, of auto a quarter"
    )
    workers: Annotated[int, Field(ge=0)] = Field(
        0, description="actors that sample arms, send images through autoencoders and measure losses; 0: as the cluster allows"
    )
    gpus_per_worker: Gpus = Field(0.0, description="GPUs of each actor, for what is sampled and measured")

    @property
    def trained_arms(self) -> tuple[Arm, ...]:
        """The arms that need a student of their own, never released."""
        return tuple(arm for arm in self.arms if arm in ("unfiltered", "random_drop"))

    @property
    def sampled_arms(self) -> tuple[Arm, ...]:
        """The arms whose model is yet to be sampled: candidates are there already, the teacher's first ones and those kept."""
        return tuple(arm for arm in self.arms if arm not in ("teacher", "kept"))
