"""Plan: what a run will need, by stage, reckoned from a short probe; before anyone pays for it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from pd.config import ModelSettings, Settings
from pd.engine.probe import TRAINING_BYTES, Rates, Training
from pd.engine.shadows import shadow_count, shadow_share
from pd.formal.plan import LEAST, STEPS
from pd.reid.task import training_settings
from pd.stages.leak_steps import steps_of

CHECKPOINTS = 2  # that a training keeps
_DEVICES = ("gpu", "core")
LEFT_OUT = "thresholds, attacks and their resampling, report and proof: minutes, and not measured"


@dataclass(frozen=True)
class Need:
    """What a stage needs.

    Attributes:
        stage: its name.
        device: what its hours are of: `core` or `gpu`.
        images: that it works on, an image counted each time.
        rate: images a second, of one worker; None: not known.
        workers: that share them.
        device_hours: of all workers together; None: not known.
        hours: on the clock, if work spreads evenly; None: not known.
        bytes: that it leaves on storage, or holds there meanwhile.
        why: why something is not known.
    """

    stage: str
    device: str
    images: int
    rate: float | None
    workers: int
    device_hours: float | None
    hours: float | None
    bytes: float
    why: str | None = None


def plan(settings: Settings, rates: Rates) -> list[Need]:
    """Reckon what each stage of a run needs: its images over the rate at which they were worked on."""
    how, reid, cores = settings.generate, settings.reid, rates.cores
    views = reid.voters * reid.steps * reid.identities_per_batch * reid.images_per_identity
    candidates = how.candidates * rates.candidate_bytes
    gpu = rates.gpu and how.gpus_per_worker > 0
    audited = rates.gpu and settings.audit.gpus_per_worker > 0
    made = 1 / (1 / rates.sampled + 1 / rates.scored) if rates.sampled else None
    samples = settings.audit.samples * len(settings.audit.sampled_arms)
    why = rates.why
    return [
        _need("ingest", "core", cores, rates.images, rates.decoded, rates.images * rates.image_bytes),
        _reid(settings, views, rates),
        _trained("teacher", settings.teacher, rates.teacher, rates),
        *([_trained("early", settings.teacher, rates.teacher, rates)] if "early" in settings.audit.arms else []),
        *([_leaks(settings, rates)] if settings.filter.calibration == "leaks" and settings.filter.families else []),
        _need(
            "generate",
            "gpu" if gpu else "core",
            how.gpus_per_worker if gpu else 1,
            how.candidates,
            made,
            candidates,
            workers=how.workers or (1 if gpu else cores),
            why=why.get("generate"),
        ),
        Need("filter", "core", how.candidates, None, 1, None, None, 2 * candidates, "the scores are there: minutes at most"),
        _trained("student", settings.student, rates.student, rates),
        *([_formal(settings)] if settings.formal else []),
        *([_classifier(settings)] if settings.classifier else []),
        *([_condense(settings)] if settings.condense else []),
        *(_trained(f"arm {arm}", settings.student, rates.student, rates) for arm in settings.audit.trained_arms),
        *([_shadows(settings, rates)] if shadow_count(settings) else []),
        _need(
            "audit",
            "gpu" if audited else "core",
            settings.audit.gpus_per_worker if audited else cores,
            samples,
            rates.sampled_here,
            samples * rates.image_bytes,
            workers=max(1, settings.audit.workers) if audited else 1,
            why=why.get("audit"),
        ),
    ]


def _need(
    stage: str,
    device: str,
    devices: float,
    images: int,
    rate: float | None,
    held: float = 0.0,
    *,
    workers: int = 1,
    why: str | None = None,
) -> Need:
    """The need of workers that hold so many devices each, and work on so many images a second each."""
    if not rate:
        return Need(stage, device, images, None, workers, None, None, held, why)
    hours = images / rate / 3600
    return Need(stage, device, images, rate, workers, hours * devices, hours / workers, held, why)


def _reid(settings: Settings, views: int, rates: Rates) -> Need:
    """The need of the networks that tell people apart, one after the other on their workers."""
    how = training_settings(settings.reid)
    gpu = rates.gpu and how.gpus_per_worker > 0
    workers, devices = (max(1, how.max_workers), how.gpus_per_worker) if gpu else (1, rates.cores)
    return _need("reid", "gpu" if gpu else "core", devices, views, rates.reid, workers=workers)


def _shadows(settings: Settings, rates: Rates) -> Need:
    """As many trainings as there are shadow models, of which each keeps its weights."""
    steps = max(1, round(shadow_share(settings) * settings.teacher.steps))
    model = settings.teacher.model_copy(update={"steps": steps})
    return _trained("shadows", model, rates.teacher, rates, shadow_count(settings))


def _condense(settings: Settings) -> Need:
    """Known once the kept candidates and their classes are."""
    assert settings.condense is not None
    how = settings.condense
    why = "as many trainings as there are classes among the kept; `pd condense` shows the first one's pace"
    return Need("condense", "core", how.training.steps * how.batch, None, 1, None, None, 0.0, why)


def _formal(settings: Settings) -> Need:
    """Of the images and noise levels that all trainings look at, with the fewest people a private step."""
    how = settings.formal
    assert how is not None
    model, steps = how.model, how.steps or STEPS
    free = model.steps * model.batch
    if how.method == "dp_sad" and how.accounting == "paper":
        images = free + steps * model.batch
    elif how.method == "dp_sad" and how.teacher == "ensemble":
        images = how.teachers * free + steps * model.batch
    else:
        images = steps * (how.batch or LEAST) * how.noise_draws + free * ((how.warm_up != "none") + how.public)
        images += how.student_steps * model.batch if how.method == "dp_sad" else 0
    images *= 2 if how.canaries else 1
    why = "its private steps grow with the people; `pd formal` shows their pace"
    return Need("formal", "core", images, None, 1, None, None, 0.0, why)


def _classifier(settings: Settings) -> Need:
    """Of the images that all trainings look at; networks of this size are not probed."""
    how = settings.classifier
    assert how is not None
    images = how.sgd_steps * how.sgd_batch if how.method == "dp_sgd" or how.baseline != "off" else 0
    times = 2 if how.canaries else 1
    if how.method != "dp_sgd":
        turns = how.rounds if how.generates and how.against == "student" and how.accounting == "sound" else 1
        of_generator = (turns + 1) * how.generator.steps if how.generates else 0
        images += how.batch * (how.teachers * how.teacher.steps + turns * how.student.steps + of_generator)
    images = times * images + how.shadows * how.student.steps * how.batch
    why = f"{how.teachers} teachers and what follows them; `pd classifier` shows the first one's pace"
    return Need("classifier", "core", images, None, 1, None, None, 0.0, why)


def _leaks(settings: Settings, rates: Rates) -> Need:
    """Two teachers that memorise calibration people, of `filter.leak_share` of the teacher's steps together."""
    model = settings.teacher.model_copy(update={"steps": steps_of(settings)})
    return _trained("leaks", model, rates.teacher, rates, 2)


def _trained(stage: str, model: ModelSettings, found: Training, rates: Rates, times: int = 1) -> Need:
    """The need of so many trainings, one after the other."""
    gpu = rates.gpu and model.gpus_per_worker > 0
    held = (CHECKPOINTS * TRAINING_BYTES + 4 * times) * (found.parameters or 0)
    images = model.steps * model.batch * times
    # Without GPUs the probe took all of this machine, whose cores the workers would share.
    workers, devices = (max(1, model.max_workers), model.gpus_per_worker) if gpu else (1, rates.cores)
    return _need(stage, "gpu" if gpu else "core", devices, images, found.images_per_s, held, workers=workers, why=found.why)


def as_json(settings: Settings, rates: Rates, needs: Sequence[Need]) -> dict[str, Any]:
    """All of it, for machines."""
    totals = {
        f"{device}_hours": sum(need.device_hours or 0.0 for need in needs if need.device == device) for device in _DEVICES
    }
    return {
        "settings": settings.digest(),
        "measured": asdict(rates),
        "stages": [asdict(need) for need in needs],
        "total": {**totals, "hours": sum(need.hours or 0.0 for need in needs), "bytes": sum(need.bytes for need in needs)},
        "unknown": [need.stage for need in needs if need.hours is None],
        "left_out": LEFT_OUT,
    }


def needs_table(settings: Settings, rates: Rates, needs: Sequence[Need]) -> Table:
    """A stage a row, the sums last."""
    table = Table(title=f"{settings.name}: measured in a few seconds on {rates.hardware}; other hardware differs")
    for heading in ("stage", "images", "a second", "workers", "GPU h", "core h", "time", "storage"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for need in needs:
        hours = {device: _few(need.device_hours) if need.device == device else "" for device in _DEVICES}
        table.add_row(
            need.stage,
            f"{need.images:,}",
            _few(need.rate),
            str(need.workers),
            hours["gpu"],
            hours["core"],
            _clock(need.hours),
            _bytes(need.bytes),
        )
    total = as_json(settings, rates, needs)["total"]
    table.add_section()
    table.add_row(
        "together",
        "",
        "",
        "",
        _few(total["gpu_hours"]),
        _few(total["core_hours"]),
        _clock(total["hours"]),
        _bytes(total["bytes"]),
    )
    table.caption = "\n".join([f"not counted: {LEFT_OUT}", *_notes(settings, rates, needs)])
    return table


def _notes(settings: Settings, rates: Rates, needs: Sequence[Need]) -> list[str]:
    notes = [f"{need.stage} is not in the sums: {need.why}" for need in needs if need.hours is None and need.why]
    asking = (settings.reid, settings.teacher, settings.student, settings.generate, settings.audit)
    wanted = any(section.gpus_per_worker for section in asking)
    if wanted and not rates.gpu:
        notes.append("the settings ask for GPUs and there is none here: plan where they are")
    fitted = [name for name in ("teacher", "student") if getattr(settings, name).autoencoder == "train"]
    if fitted:
        notes.append(f"not in the sums: the fitting of an autoencoder before each training ({' and '.join(fitted)})")
    return notes


def _few(number: float | None) -> str:
    """Two digits or a whole number: the probe is not more exact."""
    return "-" if number is None else f"{number:.2g}" if number < 10 else f"{number:,.0f}"


def _clock(hours: float | None) -> str:
    if hours is None:
        return "-"
    minutes, seconds = divmod(round(hours * 3600), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def _bytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
