"""Settings of a run: one frozen pydantic model per stage, defaults that work, unknown keys refused.

A run is one YAML file; `--set teacher.steps=200` overrides one key. `Settings.digest()` names a run: two runs with equal
digests make equal results from equal data.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from pd.errors import UserError

_MOST_NODES = 10_000  # values in a settings file
_LONGEST_FILE = 1 << 20  # characters of it


def _on_disk(value: object) -> object:
    if isinstance(value, str) and "://" in value:
        raise ValueError("it must lie on a disk, or a mount that all nodes share; docs/storage.md says what may lie at s3://")
    return value


Positive = Annotated[int, Field(gt=0)]
LocalPath = Annotated[Path, BeforeValidator(_on_disk)]  # a Path would make one slash of the two in s3://, and a folder `s3:`
Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _whole_or_part(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise ValueError("write a whole number, or a part of one GPU such as 0.25")
    return gpus


Gpus = Annotated[float, Field(ge=0), AfterValidator(_whole_or_part)]


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSettings(Section):
    """Where the private images are and how they are read."""

    reader: Literal["faces", "folder", "manifest"] = Field(
        "faces",
        description="faces: the bundled ORL faces; folder: one sub-folder per identity; manifest: CSV or Parquet",
    )
    path: LocalPath | None = Field(None, description="the folder, or the manifest file (not for `faces`)")
    size: Annotated[int, Field(ge=16, le=1024, multiple_of=8)] = Field(32, description="side of the square images, pixels")
    mode: Literal["grey", "rgb"] = Field("grey", description="grey or rgb")
    resize: Literal["crop", "pad", "stretch"] = Field(
        "crop", description="crop: centre square; pad: black bars; stretch: ignore the aspect ratio"
    )
    on_bad_image: Literal["stop", "skip"] = Field(
        "stop",
        description="a corrupt, truncated, huge, missing or doubled image stops the run, or is set aside and counted",
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
    caption: str = Field("a photo of a person", description="caption of images that come without one")


class CalibrationSettings(Section):
    """How the filter's threshold t is found on hold-out identities (methods: threshold)."""

    method: Literal["stranger_quantile", "probability", "fixed"] = Field(
        "stranger_quantile", description="stranger_quantile | probability | fixed"
    )
    quantile: Share = Field(
        0.96, description="stranger_quantile: drop what is liker a member than this share of strangers' images"
    )
    probability: Share = Field(0.5, description="probability: drop at P(same person) of at least this")
    threshold: Annotated[float, Field(ge=-1.0, le=1.0)] = Field(0.5, description="fixed: drop at this cosine")


class ReidSettings(Section):
    """The re-identification network that filters."""

    backbone: str = Field(
        "small",
        description="small | resnet50 | open_clip:MODEL (weights: a pretrained tag or a local safetensors file)",
    )
    weights: str | None = Field(None, description="pretrained tag or local safetensors file of the backbone")
    freeze: bool = Field(False, description="train only the projection on top of the backbone")
    networks: Positive = Field(1, description="networks of different seeds, which vote (`filter.vote`)")
    dim: Positive = Field(128, description="embedding dimensions")
    steps: Positive = Field(300, description="training steps")
    identities_per_batch: Positive = Field(16, description="identities in a batch")
    images_per_identity: Annotated[int, Field(ge=2)] = Field(4, description="augmented views of each in a batch")
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    calibration: CalibrationSettings = CalibrationSettings()


Precision = Literal["auto", "fp32", "bf16"]
Trained = Literal["full", "lora", "frozen"]


class ModelSettings(Section):
    """A text-conditional latent diffusion model and its training; the teacher's and the student's alike."""

    base: str | None = Field(None, description="a diffusers folder or hub id to fine-tune; empty: from scratch")
    revision: str | None = Field(None, description="revision of a hub id")
    unet: Literal["tiny", "small", "medium", "sd"] = Field("small", description="named size when from scratch")
    autoencoder: Literal["bundled", "train", "base"] = Field(
        "bundled",
        description="bundled: pd's own public one; train: fitted to this model's own training images; base: the base's",
    )
    adapter: Literal["none", "lora"] = Field("none", description="lora: what is not said otherwise below is lora, else full")
    train_unet: Trained | None = Field(
        None,
        description="full: all weights; lora: low-rank additions to the base's attention; frozen; empty: as `adapter` says",
    )
    train_text_encoder: Trained | None = Field(None, description="the same of the CLIP text model; true: full, false: frozen")
    lora_rank: Positive = Field(8, description="rank of the additions")
    lora_alpha: Annotated[float, Field(gt=0)] = Field(8.0, description="the additions count lora_alpha / lora_rank times")
    steps: Positive = Field(900, description="optimiser steps")
    batch: Positive = Field(64, description="images per optimiser step over all workers")
    micro_batch: Positive | Literal["auto"] | None = Field(
        None, description="images per forward on one worker; empty: batch / workers; auto: as many of these as fit on a GPU"
    )
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Annotated[int, Field(ge=0)] = Field(50, description="warm-up steps")
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    prediction: Literal["v_prediction", "epsilon"] = "v_prediction"
    zero_terminal_snr: bool = Field(True, description="the last step is pure noise; needs v_prediction")
    min_snr_gamma: Annotated[float, Field(gt=0)] | None = Field(5.0, description="min-SNR weighting; empty: none")
    noise_offset: Annotated[float, Field(ge=0)] = Field(
        0.0, description="noise that is the same all over a channel, of this deviation, on top: samples darker and lighter"
    )
    caption_dropout: Share = Field(0.1, description="share of captions dropped, for classifier-free guidance")
    truncate_captions: bool = Field(
        False, description="cut captions that are too long for the tokenizer; else they are refused"
    )
    flip: bool = Field(False, description="mirror images at random")
    crop: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="cut random squares of at least this share of the side, resized back; empty: none"
    )
    crop_variants: Positive = Field(4, description="squares cut from each image, encoded once before training")
    ema: Annotated[float, Field(ge=0, lt=1)] = Field(0.995, description="decay of the averaged weights; 0: none")
    zero_stage: Literal[0, 1, 2, 3] = Field(1, description="DeepSpeed ZeRO stage")
    offload: Literal["none", "optimizer"] = Field(
        "none", description="optimizer: its state and step on the CPU (ZeRO-Offload), where GPU memory is short"
    )
    precision: Precision = Field("fp32", description="fp32 | bf16 | auto: bf16 where there are matrix units for it, else fp32")
    gradient_checkpointing: bool = Field(False, description="less memory, more time: activations are computed twice")
    compile: Literal["auto", "on", "off"] = Field("auto", description="torch.compile of the UNet; auto: on GPUs")
    checkpoint_every: Positive = Field(200, description="steps between checkpoints")
    workers: int | tuple[int, int] = Field(
        1, description="Ray Train workers; [min, max]: as many as there are; 0: in this process, for debugging"
    )
    gpus_per_worker: Gpus = Field(0.0, description="GPUs of each worker; a part of one, 0.5 say, for a lone worker only")
    cpus_per_worker: Annotated[float, Field(gt=0)] | None = Field(None, description="empty: all CPUs shared out, less one slot")
    seed: int | None = Field(None, description="empty: derived from the run's seed")
    samples_every: Annotated[int, Field(ge=0)] = Field(
        200, description="steps between grids of 16 samples from the same noise, for you to look at; 0: none"
    )

    @property
    def unet_training(self) -> Trained:
        """What is trained of the UNet."""
        return self.train_unet or self._by_default

    @property
    def text_encoder_training(self) -> Trained:
        """What is trained of the text model."""
        return self.train_text_encoder or self._by_default

    @property
    def trains_text_encoder(self) -> bool:
        """Whether the text model changes, so that embeddings cannot be computed once."""
        return self.text_encoder_training != "frozen"

    @property
    def min_workers(self) -> int:
        """The fewest that training goes on with; 0: in this process."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def max_workers(self) -> int:
        """The most that are used; 0: in this process."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]

    @property
    def _by_default(self) -> Trained:
        return "lora" if self.adapter == "lora" else "full"

    @field_validator("train_unet", "train_text_encoder", mode="before")
    @classmethod
    def _yes_is_full(cls, value: object) -> object:
        return {True: "full", False: "frozen"}[value] if isinstance(value, bool) else value

    @field_validator("micro_batch", mode="before")
    @classmethod
    def _auto_or_number(cls, value: object) -> object:
        if value is None or value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
            return value
        raise ValueError("write a number of at least 1, or auto, or leave it empty")

    @field_validator("workers", mode="before")
    @classmethod
    def _number_or_range(cls, value: object) -> object:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        pair = list(value) if isinstance(value, list | tuple) else []
        if len(pair) == 2 and all(isinstance(n, int) and not isinstance(n, bool) for n in pair) and 1 <= pair[0] <= pair[1]:
            return pair[0] if pair[0] == pair[1] else tuple(pair)
        raise ValueError("write a number, or [min, max] with 1 <= min <= max")

    @field_validator("precision", mode="before")
    @classmethod
    def _no_half(cls, value: object) -> object:
        if value in ("fp16", "float16", "half", 16):
            raise ValueError(
                "float16 overflows where bfloat16 does not, needs its losses scaled, and CPUs hardly know it; "
                "set precision: bf16"
            )
        return value

    @model_validator(mode="after")
    def _go_together(self) -> "ModelSettings":
        trained = {"train_unet": self.unet_training, "train_text_encoder": self.text_encoder_training}
        if set(trained.values()) == {"frozen"}:
            raise ValueError("train_unet and train_text_encoder are both frozen: nothing is left to train")
        low = [key for key, value in trained.items() if value == "lora"]
        if low and self.base is None:
            raise ValueError(
                f"lora ({' and '.join(low)}) adapts what a base has learned, and there is none: name a base, or train in full"
            )
        if self.base is None and trained["train_unet"] == "frozen":
            raise ValueError("train_unet = frozen leaves a UNet of random weights: name a base, or train it in full")
        if 0 < self.gpus_per_worker < 1 and self.max_workers > 1:
            raise ValueError(
                f"gpus_per_worker = {self.gpus_per_worker:g} would put workers on the same GPU, and NCCL refuses that: "
                "set workers: 1, or gpus_per_worker: 1"
            )
        if self.offload == "optimizer" and self.zero_stage == 0:
            raise ValueError("offload = optimizer is ZeRO's, and zero_stage is 0: set zero_stage to 1, 2 or 3")
        return self


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
    shard_size: Positive = Field(512, description="candidates per Parquet shard: what a crash can cost a worker")
    batch: Positive = Field(64, description="candidates per forward; part of the numbers' definition, not of the layout")
    workers: Annotated[int, Field(ge=0)] = Field(0, description="actors; 0: as the cluster allows")
    gpus_per_worker: Gpus = Field(0.0, description="GPUs of each actor; 0.25: four share one, for small models")
    gallery_parts: Positive = Field(
        1, description="1: every worker holds all members' rows; more: so many actors share them, where they do not fit"
    )


class FilterSettings(Section):
    """Which checks may drop a candidate. Each writes its own reason."""

    prompt: bool = Field(True, description="its prompt is not one that `generate.prompt_k` people share")
    reid: bool = Field(True, description="re-identified as a member by the network")
    vote: Literal["any", "majority"] = Field("any", description="any | majority of `reid.networks` must recognise a member")
    near_copy: bool = Field(True, description="a member image under crop, flip, blur, noise or brightness")
    near_copy_quantile: Share = Field(0.99, description="share of strangers' images that the near-copy detector passes")
    duplicate: bool = Field(True, description="the same pixels as an earlier candidate")
    near_duplicate: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="nearly the same picture as an earlier one that stays: cosine, 0.95 say; empty: not asked for"
    )


ARMS = ("teacher", "unfiltered", "random_drop", "filtered")
Arm = Literal["teacher", "unfiltered", "random_drop", "filtered"]


class AuditSettings(Section):
    """The attacks and measures on the arms."""

    arms: Annotated[tuple[Arm, ...], Field(min_length=1)] = Field(
        ("teacher", "filtered"), description="of teacher, unfiltered, random_drop, filtered"
    )
    samples: Positive = Field(1024, description="samples of each arm")
    alpha: Annotated[float, Field(gt=0, lt=0.5)] | None = Field(
        None,
        description="stranger rate of the attackers' thresholds; empty: 0.01 where there are 500 strangers, else 0.05",
    )
    attackers: tuple[str, ...] = Field(
        ("imagenet", "thumbnails", "whitened"),
        description="imagenet: a trained network that is not the filter's; thumbnails: correlation; whitened: pixels "
        "whitened within persons; local weights: open_clip:ARCHITECTURE/WEIGHTS, torchvision:ARCHITECTURE/FILE, "
        "network:FOLDER (as pd reid writes it), onnx:FILE; the worst is the headline",
    )
    attacker_steps: Positive = Field(200, description="training steps of attacking networks")
    bootstrap: Positive = Field(1000, description="resamples behind each interval")
    utility_steps: Positive = Field(200, description="training steps of the classifiers behind utility")
    planted: Positive = Field(1000, description="leaks of each kind planted to see what the filter catches, at most")
    adherence: str | None = Field(
        None, description="open_clip:ARCHITECTURE/WEIGHTS to say how well samples fit their prompts; empty: not measured"
    )
    shadows: Annotated[int, Field(ge=0, multiple_of=2)] = Field(
        0, description="models trained as the teacher is, for membership inference by likelihood ratio (16, say); 0: none"
    )

    @property
    def trained_arms(self) -> tuple[Arm, ...]:
        """The arms that need a student of their own, never released."""
        return tuple(arm for arm in self.arms if arm in ("unfiltered", "random_drop"))


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
CONSTRAINT = re.compile(r"\s*([a-z_]+)\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?(?:e-?\d+)?)\s*")
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
        near = difflib.get_close_matches(name, FIGURES, n=1, cutoff=0.0)
        raise ValueError(f"no figure '{name[:40]}'; did you mean '{near[0]}'?")


class TrackingSettings(Section):
    """Where else the trainings' figures go: never captions, names, pictures or paths."""

    mlflow: str | None = Field(None, description="an MLflow server's address, or a folder; empty: none (needs mlflow-skinny)")
    experiment: Annotated[str, Field(min_length=1)] = Field("pd", description="the MLflow experiment; each training is a run")


class ClusterSettings(Section):
    """`pd submit`: which Ray cluster runs the job, and what the job's own process needs there."""

    address: str = Field("http://127.0.0.1:8265", description="the cluster's job server; better by an ssh tunnel than open")
    driver_cpus: Annotated[float, Field(ge=0)] = Field(0, description="CPUs of the job's own process; 0: it runs on the head")
    driver_gpus: Gpus = Field(0, description="GPUs of its own; its machine is chosen accordingly")
    wait_minutes: Annotated[float, Field(ge=0)] = Field(
        0, description="how long to wait for machines that an autoscaler starts; 0: use what is there"
    )


class Settings(Section):
    """A whole run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field("faces", description="the run's folder name")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(7, description="everything follows from it")
    runs: LocalPath = Field(Path("runs"), description="the folder that holds run folders")
    address: str | None = Field(None, description="Ray cluster address; empty: a cluster that is there, or one in this process")
    data: DataSettings = DataSettings()
    reid: ReidSettings = ReidSettings()
    teacher: ModelSettings = ModelSettings()
    generate: GenerateSettings = GenerateSettings()
    filter: FilterSettings = FilterSettings()
    student: ModelSettings = ModelSettings()
    audit: AuditSettings = AuditSettings()
    sweep: SweepSettings = SweepSettings()
    tracking: TrackingSettings = TrackingSettings()
    cluster: ClusterSettings = ClusterSettings()

    @property
    def run_dir(self) -> Path:
        """The run's folder: `runs/name`."""
        return self.runs / self.name

    def digest(self) -> str:
        """16 hex digits that name the settings; what changes nothing in the run's results does not count."""
        return digest_of(self.model_dump(mode="json", exclude={"runs", "address", "name", "tracking", "cluster", "sweep"}))


def digest_of(value: object) -> str:
    """First 16 hex digits of the SHA-256 of a JSON value's canonical text."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'teacher': {'steps': 9}} -> {'teacher.steps': 9}."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat.update(flatten(item, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def section_keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[str]:
    """Every valid dotted key, sections included."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from section_keys(kind, f"{prefix}{name}.")


class _Unfit(ValueError):
    """YAML that is well formed and no settings."""


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping; YAML would let the last one win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' stands twice", key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def _parse_yaml(text: str) -> Any:
    """A YAML document.

    Raises:
        yaml.YAMLError: it is none.
        _Unfit: one of its values is not what it says, or it unfolds to more than settings can be: names for parts of itself
            (`&a`, `*a`) let a few lines stand for terabytes.
    """
    loader = _UniqueKeys(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _weight(node, {}) > _MOST_NODES:
            raise _Unfit("it unfolds to more than settings can be")
        return loader.construct_document(node)
    except RecursionError:
        raise _Unfit("it is nested too deeply") from None
    except (ValueError, TypeError) as error:  # a 13th month, a number of nothing: the library lets these through
        raise _Unfit(str(error) if isinstance(error, _Unfit) else "a value is not what it seems to be") from None
    finally:
        loader.dispose()


def _weight(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for, those that `*a` repeats counted each time."""
    if id(node) not in known:
        known[id(node)] = _MOST_NODES + 1  # what holds itself has no end
        parts = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        inner = parts if isinstance(node, yaml.CollectionNode) else []
        known[id(node)] = 1 + sum(_weight(part, known) for part in inner)
    return known[id(node)]


def load_settings(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Settings from a YAML file and `key=value` overrides.

    Raises:
        UserError: the file is missing or no YAML mapping, a key is unknown (the nearest valid one is named), a value does
            not fit, or an override has no `=`.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST_FILE + 1)
    except FileNotFoundError:
        raise UserError("no such settings file", where=str(path), fix="`pd init` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"the settings cannot be read ({type(error).__name__})",
            where=str(path),
            fix="name a YAML file; `pd init` writes one",
        ) from None
    try:
        if len(text) > _LONGEST_FILE:
            raise _Unfit(f"more than {_LONGEST_FILE} characters")
        tree = _parse_yaml(text) or {}
    except _Unfit as error:
        raise UserError(f"no settings: {error}", where=str(path), fix="mend it, or start from `pd init`") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        what = error.problem if isinstance(error, yaml.constructor.ConstructorError) else None
        raise UserError(
            what or "not valid YAML", where=f"{path}{line}", fix="mend that line, or start from `pd init`"
        ) from None
    if not isinstance(tree, dict):
        raise UserError("the settings are not a mapping of keys", where=str(path), fix="`pd init` writes an example")
    return parse_settings(tree, overrides, where=str(path))


def parse_settings(tree: dict[str, Any], overrides: Sequence[str] = (), *, where: str = "settings") -> Settings:
    """Settings from a nested mapping and `key=value` overrides; raises UserError as `load_settings` does."""
    tree = _plain_tree(tree, where)
    for override in overrides:
        key, found, value = override.partition("=")
        if not found:
            raise UserError(f"'{override}' has no '='", where="--set", fix="write --set teacher.steps=200")
        try:
            parsed = _parse_yaml(value)
        except (yaml.YAMLError, _Unfit):
            parsed = value
        _put(tree, key.strip(), parsed)
    tree = _plain_tree(tree, "--set")
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, where, [override.partition("=")[0].strip() for override in overrides]) from None


def _plain_tree(tree: dict[str, Any], where: str) -> dict[str, Any]:
    """The tree as JSON holds it; raises UserError for keys, numbers and characters that it cannot hold."""
    try:
        text = json.dumps(tree, default=str, ensure_ascii=False)
        text.encode("utf-8")  # YAML may name half a character
        if "\\u0000" in text:
            raise ValueError("a zero byte")
        plain: dict[str, Any] = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise UserError(
            "a key or a value that settings cannot hold", where=where, fix="write keys as words, values as text or numbers"
        ) from None
    return plain


def _put(tree: dict[str, Any], key: str, value: object) -> None:
    """Set a dotted key, refusing one that settings do not have."""
    if key not in set(section_keys()):
        raise _unknown(key, "--set")
    *sections, last = key.split(".")
    for section in sections:
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UserError(f"'{section}' is not a section", where=key, fix="write it as a mapping of keys")
        tree = inner
    tree[last] = value


def _unknown(key: str, where: str) -> UserError:
    keys = list(section_keys())
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)
    last = difflib.get_close_matches(key.split(".")[-1], [k.split(".")[-1] for k in keys], n=1, cutoff=0.8)
    if last and (not near or difflib.SequenceMatcher(None, key, near[0]).ratio() < 0.8):
        near = difflib.get_close_matches(key, [k for k in keys if k.split(".")[-1] == last[0]], n=1, cutoff=0.0)
    return UserError(f"unknown key '{key}'", where=where, fix=f"did you mean '{near[0]}'?" if near else None)


def _explain(error: ValidationError, where: str, overridden: Sequence[str]) -> UserError:
    """One line for the first thing that is wrong, blamed on the file or on `--set`."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    own = first.get("ctx", {}).get("error")  # what a validator of ours says
    if any(key == name or key.startswith(f"{name}.") for name in overridden):
        where = "--set"
    if first["type"] == "extra_forbidden":
        return _unknown(key, where)
    more = len(error.errors()) - 1
    tail = f" (and {more} more)" if more else ""
    if own and isinstance(first.get("input"), dict):  # about keys that do not go together, which it names
        return UserError(f"{key}: {own}{tail}", where=where)
    value = repr(first.get("input"))
    if len(value) > 60:
        value = value[:57] + "..."
    says = str(own) if own else first["msg"][0].lower() + first["msg"][1:]
    return UserError(f"{key} = {value}: {says}{tail}", where=where)


def commented_yaml(settings: Settings | None = None) -> str:
    """A settings file with every key, its value and what it means; `pd init` writes it."""
    lines = ["# Settings of a pd run. Every key is optional; what stands here is the default."]
    _comment(settings or Settings(), 0, lines)
    return "\n".join(lines) + "\n"


def _comment(section: BaseModel, depth: int, lines: list[str]) -> None:
    pad = "  " * depth
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            lines.append("" if depth == 0 else f"{pad}# {(type(value).__doc__ or '').splitlines()[0]}")
            if depth == 0:
                lines.append(f"# {(type(value).__doc__ or '').splitlines()[0]}")
            lines.append(f"{pad}{name}:")
            _comment(value, depth + 1, lines)
            continue
        plain = section.model_dump(mode="json", include={name})[name]
        # on one line, whatever it holds: what goes on in a second one is no part of the value any more
        style = '"' if isinstance(plain, str) and not plain.isprintable() else None
        text = yaml.safe_dump(plain, default_flow_style=True, default_style=style, width=float("inf"))
        text = text.strip().removesuffix("...").strip()
        lines.append(f"{pad}{name}: {text}" + (f"  # {field.description}" if field.description else ""))
