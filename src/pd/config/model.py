"""Settings of a diffusion model and its training: teacher and student alike."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pd.config.base import Elastic, Gpus, Positive, Precision, Section, Share, Trained, Workers


class ModelSettings(Elastic, Section):
    """A text-conditional latent diffusion model and its training; the teacher's and the student's alike."""

    base: str | None = Field(None, description="a diffusers folder or hub id to fine-tune; empty: from scratch")
    revision: str | None = Field(None, description="revision of a hub id")
    trained: Path | None = Field(
        None, description="teacher only: a diffusers folder of a model trained elsewhere; it is not trained, nor adapted"
    )
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
    zero_stage: Literal["auto", 0, 1, 2, 3] = Field(
        "auto", description="DeepSpeed ZeRO stage; auto: 0 where weights and what belongs to them take under 1 GiB, else 2"
    )
    offload: Literal["none", "optimizer"] = Field(
        "none", description="optimizer: its state and step on the CPU (ZeRO-Offload), where GPU memory is short"
    )
    precision: Precision = Field("fp32", description="fp32 | bf16 | auto: bf16 where the hardware is quick at it, else fp32")
    gradient_checkpointing: bool = Field(False, description="less memory, more time: activations are computed twice")
    compile: Literal["auto", "on", "off"] = Field("auto", description="torch.compile of the UNet; auto: on GPUs")
    stop: Literal["steps", "private", "generalises"] = Field(
        "steps",
        description="steps: after so many; private (a student's): before the filter would drop more of its samples than of "
        "strangers' pictures, looked at at each checkpoint; generalises (a teacher's): before most of what it learns is about "
        "the members alone, by their losses and calibration people's, likewise",
    )
    checkpoint_every: Positive = Field(200, description="steps between checkpoints")
    workers: Workers = Field(
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
        if self.base is None and self.autoencoder == "base":
            raise ValueError("autoencoder = base, and there is no base: name one, or set autoencoder: bundled")
        if self.base is None and self.revision is not None:
            raise ValueError(f"revision = {self.revision} is of a base on the hub, and there is no base: name one")
        if self.zero_terminal_snr and self.prediction == "epsilon":
            raise ValueError(
                "a network that predicts noise (prediction = epsilon) learns nothing where everything is noise: "
                "set zero_terminal_snr: false, or prediction: v_prediction"
            )
        if 0 < self.gpus_per_worker < 1 and self.max_workers > 1:
            raise ValueError(
                f"gpus_per_worker = {self.gpus_per_worker:g} would put workers on the same GPU, and NCCL refuses that: "
                "set workers: 1, or gpus_per_worker: 1"
            )
        if self.offload == "optimizer" and self.zero_stage == 0:
            raise ValueError("offload = optimizer is ZeRO's, and zero_stage is 0: set zero_stage to 1, 2 or 3")
        return self
