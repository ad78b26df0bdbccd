"""The stage graph. It runs what is not done, in order, and says why a stage must run again."""

import contextlib
import fcntl
import importlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import yaml

from pd import __version__
from pd.config import AuditSettings, Settings, digest_of, flatten
from pd.config.mirrored import as_written, lies_in
from pd.engine.dashboard import FILE as DASHBOARD
from pd.engine.runtime import split_batch
from pd.engine.waiting import give_up_after
from pd.errors import UserError, traceback_kept
from pd.events import event, recorded, staged
from pd.progress import Reporter
from pd.release.formats.dicom import require_highdicom
from pd.stages.bucket import EVENTS, commit_outputs, commit_stage, fetch_needs, fetch_state
from pd.stages.graph import BY_NAME, STAGES, SWEEP, Stage
from pd.stages.purge import Part, purge, purgeable, purged
from pd.stages.set_aside import set_aside
from pd.store.atomic import disk_errors, make_folder, sweep, write_bytes
from pd.store.context import Context
from pd.store.files import digest_folder, size_of
from pd.store.kept import discard
from pd.store.lease import lease
from pd.store.lineage import Record, read_record, why_stale
from pd.store.mirror import bytes_of
from pd.store.run import Run

if TYPE_CHECKING:
    from pd.sweep.result import Result

LOCK = ".lock"  # in the run's work folder
TRACEBACK = "traceback.txt"  # likewise: of the last error that nobody foresaw
VERSIONED = ("torch", "diffusers", "deepspeed", "ray", "pyarrow")


@dataclass(frozen=True)
class StageState:
    """What `pd status` shows of one stage."""

    name: str
    state: str
    why: str | None
    seconds: float | None
    bytes: int
    facts: Mapping[str, Any]


def run_pipeline(settings: Settings, reporter: Reporter, only: Sequence[str] | None = None) -> Run:
    """Run every stage that is not done, or the named ones only.

    Raises:
        UserError: bad input, a stage's needs are missing (with `only`), or another `pd` works in this run's folder.
    """
    give_up_after(settings.cluster.silence_minutes)
    run = Run(settings.run_dir)
    wanted = [BY_NAME[name] for name in only] if only else [stage for stage in STAGES if stage.asked(settings)]
    context = Context(settings, run, reporter)
    fetch_state(run)
    _refuse_purged(run)
    _refuse_other_data(settings, run)
    new = bytes_of(run.root) is None
    with lock(run) as ours, recorded(run.work / EVENTS, settings.name), traceback_kept(run.work / TRACEBACK):
        write_bytes(run.private / "settings.yaml", yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False).encode())
        if only:
            _name_stale_needs(wanted, settings, reporter)
        try:
            _refuse_models(wanted, settings, run)
            _refuse_instruments(wanted, settings, run)
            if "dicom" in settings.release.formats:
                require_highdicom()
            if only is None:
                set_aside(run, settings, reporter.say)
            ran = []
            for stage in wanted:
                ran += [stage.name] if _run_stage(stage, context, ours) else []
                if stage.name == "ingest":
                    _refuse_guarantees(wanted, context)
        except UserError:
            if new and not any(read_record(run.record(stage.name)) for stage in STAGES):
                shutil.rmtree(run.root)  # the data were refused: leave no empty run behind
            raise
        if not ran:
            which = "all stages are" if only is None else f"{' and '.join(only)} is"
            reporter.say(f"nothing to do: {which} done in {as_written(run.root)}")
    return run


def run_sweep(settings: Settings, reporter: Reporter) -> "Result":
    """Search the thresholds of a run whose candidates are made; nothing of the run is changed.

    Raises:
        UserError: as `run_pipeline`; not where no trial keeps the constraints, which the result says.
    """
    give_up_after(settings.cluster.silence_minutes)
    run = Run(settings.run_dir)
    fetch_state(run)
    _refuse_missing_needs(SWEEP, run, settings)
    _refuse_other_data(settings, run)
    with lock(run) as ours, traceback_kept(run.work / TRACEBACK):
        _name_stale_needs([SWEEP], settings, reporter)
        reporter.say(f"{SWEEP.name}: {SWEEP.doing}")
        fetch_needs(SWEEP, run, settings)
        result: Result = importlib.import_module("pd.stages.sweep").execute(Context(settings, run, reporter))
        ours()
        commit_outputs(SWEEP, run, settings)
        return result


def purge_run(settings: Settings, keep: Sequence[str], agreed: Callable[[list[Part]], bool]) -> list[Part]:
    """Remove what a finished release no longer needs.

    Args:
        settings: of the run.
        keep: parts that stay.
        agreed: is shown what goes, and says whether it may.

    Returns:
        What went; nothing where it was not agreed to.

    Raises:
        UserError: the run is not finished, or nothing is left to remove.
    """
    run = Run(settings.run_dir)
    fetch_state(run)
    if not purged(run) and (undone := [state.name for state in states(settings) if state.state != "done"]):
        raise UserError(f"`{undone[0]}` is not done", code="not-done", where=str(run.root), fix="finish it first: `pd run`")
    with lock(run):
        parts = purgeable(run, keep)
        if not any(part.bytes for part in parts):
            raise UserError("nothing is left to remove", code="not-done", where=str(run.root))
        if not agreed(parts):
            return []
        purge(run, parts)
    return parts


def _refuse_guarantees(wanted: Sequence[Stage], context: Context) -> None:
    """Say what is wrong with the sections `formal` and `classifier` before other stages take hours."""
    settings, names = context.settings, [stage.name for stage in wanted[wanted.index(BY_NAME["ingest"]) + 1 :]]
    asked = [name for name in ("formal", "classifier") if name in names]
    if settings.labels is not None:  # labels are known later
        asked = [name for name in asked if name != "classifier"]
    for name in asked:
        stage, record = BY_NAME[name], read_record(context.run.record(name))
        if _why_run(stage, record, context.run, settings) is not None:
            from pd.stages import guarantees  # brings torch

            {"formal": guarantees.refuse_formal, "classifier": guarantees.refuse_classifier}[name](context)


def _refuse_purged(run: Run) -> None:
    if gone := purged(run):
        raise UserError(
            f"this run was purged of {', '.join(gone)}: its release stands as it is",
            code="other-inputs",
            where=str(run.root),
            fix=f"give the run another name, or remove {run.purged} to make it anew",
        )


def _name_stale_needs(wanted: Sequence[Stage], settings: Settings, reporter: Reporter) -> None:
    """One stage at a time uses what is there: say so where the settings ask for something else."""
    stale = {state.name: state.why for state in states(settings) if state.state == "stale"}
    names = {stage.name for stage in wanted}
    for need in dict.fromkeys(need for stage in wanted for need in stage.needs_in(settings)):
        if need in stale and need not in names:
            reporter.say(f"  `{need}` is used as it is ({stale[need]}); `pd {need}` or `pd run` makes it again")


def _refuse_other_data(settings: Settings, run: Run) -> None:
    """A run's folder is for one data set, beside it: a forgotten `name` must not cost somebody the run of another."""
    source = settings.data.path
    if source and lies_in(run.root, source):
        raise UserError(
            "the run would lie among the images",
            code="bad-options",
            where=as_written(run.root),
            fix="choose another `runs` folder",
        )
    record = read_record(run.record("ingest"))
    if record is None:
        return
    now = _settings_of(BY_NAME["ingest"], settings)
    for key in ("data.reader", "data.preset", "data.path"):
        if record.settings.get(key) != now.get(key):
            raise UserError(
                f"this folder holds a run of other images ({key} was {record.settings.get(key)}, now {now[key]})",
                code="other-inputs",
                where=str(run.root),
                fix="choose another `name`, or delete the folder if you are done with it",
            )


def _refuse_models(wanted: Sequence[Stage], settings: Settings, run: Run) -> None:
    """What can be told of trainings to come is told before the first stage: a student comes days after its teacher."""
    for name, model in (("teacher", settings.teacher), ("student", settings.student)):
        stage = BY_NAME[name]
        if stage not in wanted or _why_run(stage, read_record(run.record(name)), run, settings) is None:
            continue
        try:
            if model.trained is not None:
                from pd.diffusion.elsewhere import check_trained  # brings diffusers

                check_trained(model)
                continue
            split_batch(model)
            if model.base is not None:
                from pd.diffusion import pretrained  # brings diffusers

                pretrained.check(pretrained.locate(model.base, model.revision))
        except UserError as error:
            raise UserError(error.what, code=error.code, where=f"{name}, {error.where}", fix=error.fix) from None


def _refuse_instruments(wanted: Sequence[Stage], settings: Settings, run: Run) -> None:
    """Likewise what the audit is to attack and measure with, where settings name something of their own."""
    stage, how, plain = BY_NAME["audit"], settings.audit, AuditSettings()
    own = how.attackers != plain.attackers or how.features or how.adherence
    if not own or stage not in wanted or _why_run(stage, read_record(run.record("audit")), run, settings) is None:
        return
    from pd.audit.attackers.choose import choose_attackers  # brings torch
    from pd.audit.clip import Clip
    from pd.audit.features import encoder

    choose_attackers(how.attackers)
    encoder(how.features)
    if how.adherence:
        Clip(how.adherence, "audit.adherence")


def _why_run(stage: Stage, record: Record | None, run: Run, settings: Settings) -> str | None:
    """Why a stage must run (again), as things are now; None: it is done."""
    if record is not None and stage.layout:
        made_with = {name: value for name, value in record.settings.items() if name not in stage.layout}
        record = replace(record, settings=made_with)
    return why_stale(record, _settings_of(stage, settings), _inputs_of(stage, run, settings), run.root)


def states(settings: Settings) -> list[StageState]:
    """The state of every stage: done, stale (and why), or missing."""
    run = Run(settings.run_dir)
    fetch_state(run)
    shown = []
    stale: set[str] = set()
    for stage in (stage for stage in STAGES if stage.asked(settings)):
        record = read_record(run.record(stage.name))
        why = _why_run(stage, record, run, settings)
        behind = [need for need in stage.needs_in(settings) if need in stale]
        if why is None and behind:
            why = f"`{behind[0]}` must run first"
        if why:
            stale.add(stage.name)
        state = "done" if why is None else "missing" if record is None else "stale"
        held = sum(bytes_of(path) or 0 for path in stage.outputs(run, settings))
        seconds, facts = (record.seconds, record.facts) if record else (None, {})
        shown.append(StageState(stage.name, state, why, seconds, held, facts))
    return shown


def dashboard_pages(settings: Settings) -> dict[str, str]:
    """Where Ray's dashboard shows a run, by page, while a `pd` works on it; a cluster that is through with it may be gone."""
    work = Run(settings.run_dir).work
    pages, held = work / DASHBOARD, work / LOCK
    if not (pages.exists() and held.exists()):
        return {}
    with held.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return dict(json.loads(pages.read_text(encoding="utf-8")))
    return {}


def _run_stage(stage: Stage, context: Context, ours: Callable[[], None]) -> bool:
    """Run one stage unless it is done; True when it ran. `ours` raises when another machine may have taken the run over."""
    run, settings, say = context.run, context.settings, context.reporter.say
    for path in stage.outputs(run, settings):
        sweep(path)
    _refuse_missing_needs(stage, run, settings)
    keys, inputs = _settings_of(stage, settings), _inputs_of(stage, run, settings)
    record = read_record(run.record(stage.name))
    why = _why_run(stage, record, run, settings)
    if why is None:
        return False
    say(f"{stage.name}: {stage.doing}" + (f"  (again: {why})" if record else ""))
    begin = time.monotonic()
    fetch_needs(stage, run, settings)
    with staged(stage.name):
        facts = importlib.import_module(f"pd.stages.{stage.name}").execute(context)
        event("facts", **flatten(facts))
    ours()
    seconds = time.monotonic() - begin
    paths = stage.outputs(run, settings)
    outputs = {path.relative_to(run.root).as_posix(): digest_folder(path) for path in paths}
    if record is None or record.outputs != outputs:
        _withdraw_later(stage, run, settings)
    Record(
        stage=stage.name,
        settings=keys,
        inputs=inputs,
        outputs=outputs,
        sizes={path.relative_to(run.root).as_posix(): size_of(path) for path in paths},
        seconds=round(seconds, 2),
        facts=dict(facts),
        versions={"privacy-distillation": __version__, **{name: _version(name) for name in VERSIONED}},
    ).write(run.record(stage.name))
    commit_stage(stage, run, settings)
    say(f"{stage.name}: done in {seconds:.0f} s  " + "  ".join(f"{k} {_short(v)}" for k, v in facts.items() if _small(v)))
    return True


def _version(package: str) -> str:
    """Its version; sampling needs no DeepSpeed, and is done where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _refuse_missing_needs(stage: Stage, run: Run, settings: Settings) -> None:
    for need in stage.needs_in(settings):
        if read_record(run.record(need)) is None:
            raise UserError(
                f"`{stage.name}` needs `{need}`, which is not done",
                code="not-done",
                where=str(run.root),
                fix=f"`pd {need}` first",
            )


def _withdraw_later(stage: Stage, run: Run, settings: Settings) -> None:
    """Take what later stages had put into `release/` away: a release is never a mixture of old and new."""
    gone = {stage.name}
    for later in STAGES:
        if gone & set(later.needs):
            gone.add(later.name)
            for path in later.outputs(run, settings):
                if path.is_relative_to(run.release):
                    discard(path)


def _settings_of(stage: Stage, settings: Settings) -> dict[str, Any]:
    flat = flatten(settings.model_dump(mode="json"))
    keys = ("seed", *stage.keys)
    return {
        name: value
        for name, value in flat.items()
        if name not in stage.layout and any(name == key or name.startswith(f"{key}.") for key in keys)
    }


def _inputs_of(stage: Stage, run: Run, settings: Settings) -> dict[str, str]:
    inputs = {}
    for need in stage.needs_in(settings):
        record = read_record(run.record(need))
        inputs[need] = digest_of(record.outputs) if record else "missing"
    if stage.source and (source := stage.source(settings)):
        inputs["source"] = source
    return inputs


def _small(value: object) -> bool:
    return isinstance(value, int | float | str)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def lock(run: Run) -> Iterator[Callable[[], None]]:
    """Keep a second `pd` out of a run's folder; the lock goes with the process, however it ends.

    Yields:
        as `pd.store.lease.lease`.
    """
    with disk_errors(run.root):
        for folder in (run.private, run.work):
            make_folder(folder)
            folder.chmod(0o700)
        with (run.work / LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    "another pd is working in this run", code="busy", where=str(run.root), fix="wait for it, or stop it"
                ) from None
            with lease(run.root) as ours:
                yield ours
