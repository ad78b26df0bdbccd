"""The stage graph: what each step reads, which settings it depends on, and what it leaves behind.

`pd.stages.NAME.execute(context)` does the work; it is imported only when it must run, for it brings torch and ray.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pd.config import AuditSettings, CondenseSettings, ReidSettings, ScreenSettings, Settings, digest_of
from pd.config.people import LAYOUT, DataSettings
from pd.errors import UserError
from pd.store.mirror import bytes_of, listing
from pd.store.run import Run


def _source(settings: Settings) -> str:
    from pd.dataset.ingest import fingerprint

    data = fingerprint(settings.data)
    # What the screening flags is left out: then the data set is made from its settings, too.
    return digest_of([data, _screened(settings)]) if settings.data.drop_flagged else data


def _screened(settings: Settings) -> list[object]:
    """Settings of the screening, and names, sizes and times of the clips that it compares with."""
    from pd.dataset.clips import list_clips

    how = settings.screen
    if how is None:
        return []
    given = [list_clips(path, settings.data, needs_identity=False) for path in (how.real, how.forged) if path is not None]
    files = [file.stat() for listed in given for file in listed.files if file.exists()]
    return [
        how.model_dump(mode="json", exclude={"workers", "gpus_per_worker"}),
        [[one.st_size, one.st_mtime_ns] for one in files],
    ]


def _compared(settings: Settings) -> str:
    return digest_of(_screened(settings))


def _votes(settings: Settings) -> str:
    from pd.store.files import digest_file

    labels = settings.labels
    read = labels and (labels.votes or labels.semi_vit.network.weights)
    return digest_file(read) if read and read.is_file() else ""


def _besides(settings: Settings) -> str:
    from pd.store.files import digest_file

    run = Run(settings.run_dir)
    return " ".join(digest_file(found) if found.exists() else "none" for found in (run.sweep_result, run.fingerprints))


def _there(*paths: Path) -> list[Path]:
    """Those that are there, here or in the bucket: what is released depends on the audit."""
    return [path for path in paths if path.exists() or bytes_of(path) is not None]


def _released(settings: Settings) -> str:
    """Changes when anything in `release/` does, by name, size or time: what was put there since the last proof is looked at."""
    from pd.release.files import entries

    release = Run(settings.run_dir).release
    if (there := listing(release)) is not None:
        return digest_of(there)
    found = [(path, path.lstat()) for path in entries(release)]
    return digest_of([(str(path.relative_to(release)), info.st_size, info.st_mtime_ns) for path, info in found])


def _trained(settings: Settings) -> str:
    """Changes when a teacher that was trained elsewhere does, by name, size or time of a file: it may have gigabytes."""
    folder = settings.teacher.trained
    if folder is None:
        return ""
    found = [(path, path.stat()) for path in sorted(folder.expanduser().rglob("*")) if path.is_file()]
    return digest_of([(str(path), info.st_size, info.st_mtime_ns) for path, info in found])


def _taught(settings: Settings) -> str:
    """Changes when a recogniser's teacher from outside does, or the public people whom g2d's encoder learns from."""
    reid, told = settings.reid, ""
    if reid.teacher is not None and any(method.name != "supcon" for method in reid.methods):
        from pd.reid.teachers import origin

        told = digest_of(origin(reid.teacher))
    if settings.public is not None and any(method.name == "g2d" for method in reid.methods):
        told += digest_of([settings.public.model_dump(mode="json"), _public(settings)])
    return told


def _public(settings: Settings) -> str:
    """Changes when the public pictures do, by name, size or time; empty where there are none."""
    from pd.dataset.ingest import fingerprint

    if settings.public is None:
        return ""
    try:
        return fingerprint(DataSettings(reader=settings.public.reader, path=settings.public.path))
    except UserError:  # who reads them says what is wrong
        return "unreadable"


def _public_of_formal(settings: Settings) -> str:
    return _public(settings) if settings.formal and settings.formal.public else ""


def _public_of_classifier(settings: Settings) -> str:
    return _public(settings) if settings.classifier and settings.classifier.asks_public else ""


def _attacking(settings: Settings) -> str:
    """Changes when weights that the audit reads from this machine do, or the public pictures; empty where there are none."""
    from pd.store.files import digest_file

    audit = settings.audit
    named = [name.partition(":")[2] for name in (*audit.attackers, audit.features or "", audit.adherence or "")]
    weights = audit.few_labels.network.weights if audit.utility == "semi_vit" else None
    # `onnx:FILE` and `network:FOLDER`, or `timm:ARCHITECTURE/FILE`
    places = [Path(place) for name in named if name for place in (name, name.partition("/")[2]) if place]
    files = [file for place in places for file in ([place] if place.is_file() else sorted(place.glob("*.safetensors")))]
    found = [digest_file(file) for file in (*files, *([weights] if weights else [])) if file.is_file()]
    public = _public(settings)
    return digest_of([found, public]) if found or public else ""


@dataclass(frozen=True)
class Stage:
    """One step of the method.

    Attributes:
        name: what `pd` calls it.
        doing: what it does, in a few words for the terminal.
        needs: the stages whose outputs it reads.
        keys: dotted prefixes of the settings it depends on (the run's seed always counts).
        outputs: the files and folders it makes, given the run and the settings.
        source: a fingerprint of what it reads besides: from outside the run, or of a command that need not have run.
        layout: settings below its keys that say how the work is laid out, or how often it is kept: they make nothing else, and
            a model with an epsilon that is made again spends its budget again.
        asked: whether settings ask for it. A stage that they do not ask for is as if there were none.
    """

    name: str
    doing: str
    needs: tuple[str, ...]
    keys: tuple[str, ...]
    outputs: Callable[[Run, Settings], list[Path]]
    source: Callable[[Settings], str] | None = None
    layout: tuple[str, ...] = ()
    asked: Callable[[Settings], bool] = lambda settings: True

    def needs_in(self, settings: Settings) -> tuple[str, ...]:
        """Those of its needs that the settings ask for."""
        return tuple(need for need in self.needs if BY_NAME[need].asked(settings))


# What `pd.filters.captions` makes captions general by: every stage that reads captions depends on it.
PROMPTS = ("generate.prompt_k", "data.caption", "data.subject", "data.uncertain", "data.unmentioned")

# What judges generated leaks.
LEAKS = ("audit.attacker_steps", "audit.alpha")

STAGES = (
    Stage(
        name="ingest",
        doing="reading the private images",
        needs=(),
        keys=("data",),
        outputs=lambda run, settings: [run.dataset],
        source=_source,
    ),
    Stage(
        name="screen",
        doing="screening the clips for forgeries",
        needs=("ingest",),
        keys=tuple(f"screen.{name}" for name in ScreenSettings.model_fields if name not in ("workers", "gpus_per_worker")),
        outputs=lambda run, settings: [run.screen],
        source=_compared,
        asked=lambda settings: settings.screen is not None,
    ),
    Stage(
        name="labels",
        doing="working labels out",
        needs=("ingest",),
        keys=("labels", "data.uncertain", "data.unmentioned"),
        outputs=lambda run, settings: [run.labels],
        source=_votes,
        asked=lambda settings: settings.labels is not None,
    ),
    Stage(
        name="reid",
        doing="training the re-identification network on the members",
        needs=("ingest",),
        # All but the calibration, which the filter reads (a new threshold trains nothing), and how the work is laid out.
        keys=tuple(f"reid.{name}" for name in ReidSettings.model_fields if name not in {"calibration", *LAYOUT}),
        outputs=lambda run, settings: [run.reid],
        source=_taught,
    ),
    Stage(
        name="teacher",
        doing="training the teacher on the members",
        needs=("ingest", "labels"),
        keys=("teacher", "data.size", "data.mode", *PROMPTS),
        outputs=lambda run, settings: [run.teacher],
        source=_trained,
    ),
    Stage(
        name="early",
        doing="training the early-stopped teacher to compare with",
        needs=("ingest", "labels"),
        keys=("teacher", "data.size", "data.mode", *PROMPTS),
        outputs=lambda run, settings: [run.arm("early")],
        asked=lambda settings: "early" in settings.audit.arms,
    ),
    Stage(
        name="leaks",
        doing="calibrating the filter",
        needs=("ingest", "labels"),
        keys=(
            "filter.calibration",
            "filter.families",
            "filter.leak_share",
            "teacher",
            "audit.attacker_steps",
            "audit.alpha",
            *PROMPTS,
        ),
        outputs=lambda run, settings: [run.leaks],
    ),
    Stage(
        name="generate",
        doing="sampling the teacher and scoring the candidates",
        needs=("ingest", "labels", "reid", "teacher"),
        # Not workers: the candidates are the same for any number of them.
        keys=(
            "generate.candidates",
            "generate.sampler_steps",
            "generate.guidance",
            "generate.precision",
            *PROMPTS,
            "generate.balance_prompts",
            "generate.shard_size",
            "generate.batch",
        ),
        outputs=lambda run, settings: [run.generated],
    ),
    Stage(
        name="top_up",
        doing="making candidates of prompts of which too few are kept",
        needs=("ingest", "labels", "reid", "leaks", "teacher", "generate"),
        keys=("reid.calibration", "filter", "generate.per_prompt", "generate.shares", "generate.most", *PROMPTS),
        outputs=lambda run, settings: [run.topped_up],
        asked=lambda settings: settings.generate.tops_up,
    ),
    Stage(
        name="filter",
        doing="dropping what resembles a member",
        needs=("ingest", "labels", "reid", "leaks", "generate", "top_up"),
        keys=("reid.calibration", "filter", *PROMPTS),
        outputs=lambda run, settings: [run.candidates, run.filter_counts, run.kept],
    ),
    Stage(
        name="student",
        doing="training the student on the kept candidates",
        needs=("ingest", "labels", "reid", "filter"),
        keys=("student", "data.size", "data.mode", "release.data"),
        outputs=lambda run, settings: [run.student, *([run.student_data] if settings.release.data == "student" else [])],
    ),
    Stage(
        name="arms",
        doing="training the students to compare with",
        needs=("filter",),
        keys=("student", "audit.arms", "data.size", "data.mode"),
        outputs=lambda run, settings: [run.arm(arm) for arm in settings.audit.trained_arms],
    ),
    Stage(
        name="formal",
        doing="training the model with a guarantee, through the privacy ledger",
        needs=("ingest", "labels"),
        keys=("formal", "public", "data.size", "data.mode", *PROMPTS),
        outputs=lambda run, settings: [run.formal, run.ledger],
        source=_public_of_formal,
        layout=("formal.workers", "formal.micro_batch", "formal.checkpoint_every"),
        asked=lambda settings: settings.formal is not None,
    ),
    Stage(
        name="classifier",
        doing="training the classifier with a guarantee, through the privacy ledger",
        needs=("ingest", "labels"),
        keys=("classifier", "public", "data.size", "data.mode", "data.uncertain", "data.unmentioned", "generate.prompt_k"),
        outputs=lambda run, settings: [run.classifier, run.classifier_ledger, run.classifier_audit],
        source=_public_of_classifier,
        layout=(
            "classifier.sgd_micro_batch",
            *(
                f"classifier.{of}.{name}"
                for of in ("teacher", "student", "generator")
                for name in ("workers", "gpus_per_worker", "checkpoint_every")
            ),
        ),
        asked=lambda settings: settings.classifier is not None,
    ),
    Stage(
        name="condense",
        doing="condensing the kept candidates",
        needs=("reid", "filter"),
        keys=tuple(f"condense.{name}" for name in CondenseSettings.model_fields if name != "accept_leak"),
        outputs=lambda run, settings: [run.condensed],
        asked=lambda settings: settings.condense is not None,
    ),
    Stage(
        name="audit",
        doing="attacking the arms",
        needs=("ingest", "labels", "reid", "teacher", "early", "generate", "filter", "student", "arms", "formal", "condense"),
        # Not its workers: figures are the same for any number of them.
        keys=(
            *(f"audit.{name}" for name in AuditSettings.model_fields if name not in ("workers", "gpus_per_worker")),
            "public",
            "filter",  # is tested as it is set, also where other settings drop the same
            *PROMPTS,
            "generate.balance_prompts",
            "generate.sampler_steps",
            "generate.guidance",
            "generate.precision",
            "generate.batch",
        ),
        outputs=lambda run, settings: [run.all_samples, run.audit, run.release_audit],
        source=_attacking,
    ),
    Stage(
        name="release",
        doing="releasing what does not leak",
        needs=("filter", "student", "condense", "audit"),
        keys=("release.data", "release.accept_leak", "condense.accept_leak"),
        outputs=lambda run, settings: [run.decision, *_there(run.data, run.model, run.release_condensed, run.contents)],
    ),
    Stage(
        name="formats",
        doing="writing the released images in other formats",
        needs=("release",),
        keys=("release",),
        outputs=lambda run, settings: _there(*(run.release / name for name in settings.release.formats if name != "parquet")),
    ),
    Stage(
        name="report",
        doing="writing the reports, the card and the digests of the release",
        needs=(
            *("ingest", "labels", "reid", "teacher", "generate", "filter", "student", "arms", "classifier"),
            *("audit", "release", "formats"),
        ),
        keys=("name", "generate", "release"),
        outputs=lambda run, settings: [
            run.report,
            run.card,
            run.release_report,
            run.sums,
            *([run.signature] if settings.release.signing_key else []),
        ],
        source=_besides,
    ),
    Stage(
        name="verify",
        doing="proving that the release is clean",
        needs=(
            *("ingest", "labels", "reid", "teacher", "filter", "student", "formal", "classifier"),
            *("audit", "release", "formats", "report"),
        ),
        keys=("generate.prompt_k",),
        outputs=lambda run, settings: [],
        source=_released,
    ),
)

# Beside the method, not in it: `pd run` leaves them out, and no stage needs them.
SWEEP = Stage(
    name="sweep",
    doing="searching the thresholds on cached scores",
    needs=("ingest", "labels", "reid", "generate"),
    keys=(),
    outputs=lambda run, settings: [run.sweep],
)
FINGERPRINT = Stage(
    name="fingerprint",
    doing="looking for canaries in what the models make",
    needs=("ingest", "generate", "student"),
    keys=(),
    outputs=lambda run, settings: [run.card, run.private / "fingerprints.json"],
)
"""Of the run whose images carry canaries."""

BY_NAME: Mapping[str, Stage] = {stage.name: stage for stage in STAGES}
