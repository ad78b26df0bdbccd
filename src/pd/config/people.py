"""Settings of the private images, and of telling people apart."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from pd.config.base import AnyPath, Family, Gpus, Positive, Precision, Section, Share, Workers
from pd.config.recognisers import Methods, MethodSettings, SupconSettings
from pd.config.sources import ColumnSettings, DicomSettings, IdentityFrom, Preset, Reader, VideoSettings


class DataSettings(Section):
    """Where the private images are and how they are read."""

    reader: Reader = Field(
        "faces",
        description="faces: the bundled ORL faces; folder: one sub-folder per identity; manifest: CSV, JSON lines or Parquet; "
        "huggingface: a saved data set or a hub id; dicom: a folder of DICOM files; "
        "video: a folder of clips for each identity, or a manifest with path, start, end (extra [video])",
    )
    preset: Preset | None = Field(None, description="a known layout, read in place of `reader`: docs/formats.md lists them")
    path: AnyPath | None = Field(None, description="the folder, or the manifest file, here or at s3:// (not for `faces`)")
    columns: ColumnSettings = ColumnSettings()
    identity_from: IdentityFrom = Field(
        None, description="who is shown, from the path: a regular expression such as p\\d{8}, or a depth (1: the first folder)"
    )
    revision: str | None = Field(None, description="huggingface: branch, tag or commit of a hub id")
    dicom: DicomSettings = DicomSettings()
    video: VideoSettings = VideoSettings()
    drop_flagged: bool = Field(
        False, description="leave out clips that the section `screen` flags as forged; off: they are listed, and used"
    )
    size: Annotated[int, Field(ge=16, le=1024, multiple_of=8)] = Field(32, description="side of the square images, pixels")
    mode: Literal["grey", "rgb"] = Field("grey", description="grey or rgb")
    resize: Literal["crop", "pad", "stretch"] = Field(
        "crop", description="crop: centre square; pad: black bars; stretch: ignore the aspect ratio"
    )
    on_bad_image: Literal["stop", "skip"] = Field(
        "stop",
        description="a corrupt, truncated, huge, missing or duplicate image stops the run, or is set aside and counted",
    )
    max_pixels: Annotated[int, Field(gt=0, le=178_956_970)] = Field(
        64_000_000, description="an image of more pixels is a decompression bomb and is bad"
    )
    min_images: Positive = Field(
        1,
        description="identities with fewer images are bad (re-identification learns from pairs: 2 sets lone ones aside)",
    )
    holdout: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        0.5,
        description="share of identities held out: strangers for calibration and audit (unless a `split` column says)",
    )
    caption: str = Field(
        "a photo of a person",
        description="caption of images that come without one; or the word report: captions are free texts, of whose phrases "
        "those that generate.prompt_k members share become prompts",
    )
    uncertain: Literal["apart", "positive", "negative", "missing"] = Field(
        "apart",
        description="-1 of a report labeler's column (values -1, 0, 1): apart stays -1, which nothing takes for yes or no",
    )
    unmentioned: Literal["missing", "negative"] = Field(
        "missing", description="blanks of a report labeler's column: not known, or no"
    )
    subject: str = Field("a photo of a person", description="where data.caption is report: what can be said of any image")

    @property
    def generic(self) -> str:
        """What can be said of any image."""
        return self.subject if self.caption == "report" else self.caption


class CalibrationSettings(Section):
    """How the filter's threshold t is found on hold-out identities (methods: threshold)."""

    method: Literal["stranger_quantile", "probability", "fixed"] = Field(
        "stranger_quantile", description="stranger_quantile | probability | fixed"
    )
    quantile: Share = Field(
        0.96, description="stranger_quantile: drop what is more similar to a member than this share of strangers' images"
    )
    probability: Share = Field(0.5, description="probability: drop at P(same person) of at least this")
    threshold: Annotated[float, Field(ge=-1.0, le=1.0)] = Field(0.5, description="fixed: drop at this cosine")


LAYOUT = frozenset({"workers", "gpus_per_worker", "checkpoint_every"})
"""What of `reid` says how the work is laid out, and makes no other network."""


_OPTIONAL = frozenset({"method", "teacher"})
"""Keys that change no byte of a run, nor its name, where they are absent."""


class ReidSettings(Section):
    """The re-identification network that filters."""

    backbone: str = Field(
        "small",
        description="small | resnet50 | open_clip:MODEL (weights: a pretrained tag or a local safetensors file)",
    )
    weights: str | None = Field(None, description="pretrained tag or local safetensors file of the backbone")
    freeze: bool = Field(False, description="train only the projection on top of the backbone")
    networks: Positive = Field(1, description="networks of different seeds, which vote (`filter.vote`); of each method")
    method: Methods | None = Field(
        None,
        description="supcon (or empty) | crrcd: sees low resolution | aird: blur, noise, contrast, too | g2d: hidden parts; "
        "or a list, whose networks vote; `{name: crrcd, views: [clear, 8x8]}` sets more: docs/recognise.md",
    )
    teacher: str | None = Field(
        None,
        description="who teaches crrcd, aird and g2d: a run's folder | open_clip:NAME/WEIGHTS | onnx:FILE | classes: a network "
        "trained here first by cross-entropy on clear pictures; empty: one trained here first as supcon",
    )
    spaces: tuple[Family, ...] = Field(
        ("whitened", "imagenet", "altered"),
        description="spaces learned from calibration people, in which candidates are scored, too: whitened (thumbnails), "
        "imagenet (middle features of a public network), gradients (edges); altered, which learns nobody, looks for "
        "copies that were moved, turned, framed, inverted or put into other pictures",
    )
    dim: Positive = Field(128, description="embedding dimensions")
    steps: Positive = Field(300, description="training steps")
    identities_per_batch: Positive = Field(16, description="identities in a batch")
    images_per_identity: Annotated[int, Field(ge=2)] = Field(4, description="augmented views of each in a batch")
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    precision: Precision = Field("fp32", description="fp32 | bf16 | auto: bf16 where the hardware is quick at it, else fp32")
    checkpoint_every: Positive = Field(200, description="steps between checkpoints")
    workers: Workers = Field(
        0, description="Ray Train workers of a network; [min, max]: as many as there are; 0: no Ray for one"
    )
    gpus_per_worker: Gpus = Field(
        0.0, description="GPUs of each worker; where networks are trained side by side, of each network (0.25, say); 0: CPU"
    )
    calibration: CalibrationSettings = CalibrationSettings()

    @property
    def methods(self) -> tuple[MethodSettings, ...]:
        """How the networks are trained: `networks` of each."""
        return self.method or (SupconSettings(),)

    @property
    def voters(self) -> int:
        """How many networks there are."""
        return self.networks * len(self.methods)

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        held: dict[str, Any] = handler(self)
        return {name: value for name, value in held.items() if value is not None or name not in _OPTIONAL}
