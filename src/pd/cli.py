"""`pd`: the one way in from a terminal."""

import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pd import __version__
from pd.config import Settings, commented_yaml, load_settings
from pd.errors import LeakError, UserError
from pd.progress import Reporter, printable, shown

STOPPED = 130  # by Ctrl-C, as Typer reports it

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Privacy distillation: train a teacher on private images, drop every sample that re-identifies a person, train and "
    "release a student, and audit what it leaks.\n\nStart with `pd init`, then `pd run pd.yaml`.",
)

ConfigFile = Annotated[Path, typer.Argument(help="settings file (YAML); `pd init` writes one", show_default=False)]
Synthetic = Annotated[  # text: a Path would make one slash of the two in s3://
    str | None,
    typer.Option(help="somebody's synthetic images: a folder, Parquet or tar shards; or s3://bucket/prefix", metavar="PATH"),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="override one setting: --set teacher.steps=200", metavar="KEY=VALUE")
]


@app.command()
def run(config: ConfigFile, set_: Overrides = None) -> None:
    """Run every stage that is not done yet, to `private/report.html` and `release/`.

    The same command goes on after a crash or Ctrl-C, and does nothing when all is done.

    Example: `pd run configs/faces.yaml --set seed=8`
    """
    from pd.pipeline import run_pipeline
    from pd.stages.summary import summary_table

    done = run_pipeline(_settings(config, set_), Reporter())
    console = Console()
    console.print(summary_table(done))
    console.print(f"report:  {shown(str(done.report))}\nrelease: {shown(str(done.release))}", soft_wrap=True)


@app.command()
def submit(
    config: ConfigFile,
    set_: Overrides = None,
    stage: Annotated[str, typer.Option(help="a single stage, as `teacher`; else all that is not done")] = "run",
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="show the job's log until it ends")] = True,
) -> None:
    """Run `pd run` as a job of the Ray cluster at `cluster.address`; its exit code is that of `pd run` there.

    Code and settings are sent, images are not: relative paths are those below PD_HOME on the cluster. Ctrl-C ends the
    following, `ray job stop` ends the job.

    Example: `pd submit configs/faces.yaml --set cluster.address=http://127.0.0.1:8265`
    """
    from pd.engine.submit import COMMANDS
    from pd.engine.submit import submit as submit_job

    if stage not in COMMANDS:
        raise UserError(f"no job does '{stage}'", where="--stage", fix=f"choose of {', '.join(COMMANDS)}")
    sys.exit(submit_job(load_settings(config, set_ or ()), stage, Reporter(), follow))


@app.command()
def plan(
    config: ConfigFile,
    set_: Overrides = None,
    json_: Annotated[bool, typer.Option("--json", help="print all of it as JSON")] = False,
) -> None:
    """Say what a run will need, by stage, before anyone pays for it: GPU or core hours, time and storage.

    Reads some of the images, and trains and samples the settings' own models for some seconds, on this machine.

    Example: `pd plan configs/faces.yaml`
    """
    from pd.stages.plan import as_json, needs_table
    from pd.stages.plan import plan as reckon
    from pd.stages.probe import measure

    settings = load_settings(config, set_ or ())
    rates = measure(settings, Reporter())
    needs = reckon(settings, rates)
    if json_:
        typer.echo(json.dumps(as_json(settings, rates, needs), indent=2))
    else:
        Console().print(needs_table(settings, rates, needs))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="file to write")] = Path("pd.yaml"),
    force: Annotated[bool, typer.Option("--force", help="write over a file that is there")] = False,
) -> None:
    """Write a settings file with every key, its default and what it means.

    Example: `pd init chest.yaml`
    """
    from pd.store.atomic import disk_errors

    if path.exists() and not force:
        raise UserError("there is such a file already", where=str(path), fix="choose another name, or use --force")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commented_yaml(_named(path)), encoding="utf-8")
    Console().print(f"wrote {shown(str(path))}; set data.reader and data.path, then: pd run {shown(str(path))}", soft_wrap=True)


def _named(path: Path) -> Settings:
    """The defaults, the run named like its settings file: a second file is a second run."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip(".-_")[:60]
    return Settings(name=name or "pd")


@app.command()
def status(run_: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, or its settings file")]) -> None:
    """Show each stage's state, time and size.

    Example: `pd status runs/faces`
    """
    from pd.pipeline import dashboard_pages, states

    settings = _settings_of_run(run_)
    table = Table(title=shown(f"{settings.run_dir}  settings {settings.digest()}"))
    for heading in ("stage", "state", "time", "size", "figures, or why not done"):
        table.add_column(heading)
    for state in states(settings):
        facts = "  ".join(
            f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}"
            for k, v in state.facts.items()
            if not isinstance(v, dict | list)
        )
        seconds = f"{state.seconds:.0f} s" if state.seconds is not None else ""
        size = f"{state.bytes / 1e6:.1f} MB" if state.bytes else ""
        table.add_row(state.name, state.state, seconds, size, shown(state.why or facts))
    Console().print(table)
    for page, address in dashboard_pages(settings).items():
        Console().print(f"{page} on Ray's dashboard: {shown(address)}", soft_wrap=True)


def _settings_of_run(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Settings of a run folder (its own copy) or of a settings file."""
    if not path.is_dir():
        return load_settings(path, overrides)
    kept = path / "private" / "settings.yaml"
    if not kept.exists():
        raise UserError(
            "no run in this folder", where=str(path), fix="name a run folder such as runs/faces, or a settings file"
        )
    return load_settings(kept, [*overrides, f"runs={path.absolute().parent}", f"name={path.absolute().name}"])


def _stage(name: str, config: Path, overrides: list[str] | None) -> None:
    from pd.pipeline import run_pipeline

    run_pipeline(_settings(config, overrides), Reporter(), only=[name])


def _settings(config: Path, overrides: list[str] | None) -> Settings:
    """Settings of a run that is to be worked on, here or as a job of a cluster."""
    from pd.engine.job import settle

    return settle(load_settings(config, overrides or ()))


@app.command()
def ingest(config: ConfigFile, set_: Overrides = None) -> None:
    """Read the private images into `private/dataset/`, split into members and hold-out.

    Example: `pd ingest configs/faces.yaml`
    """
    _stage("ingest", config, set_)


@app.command()
def reid(config: ConfigFile, set_: Overrides = None) -> None:
    """Train the re-identification network on the members and build their gallery.

    Example: `pd reid configs/faces.yaml --set reid.steps=500`
    """
    _stage("reid", config, set_)


@app.command()
def teacher(config: ConfigFile, set_: Overrides = None) -> None:
    """Train the teacher on the members' images.

    Example: `pd teacher configs/faces.yaml --set teacher.workers=2`
    """
    _stage("teacher", config, set_)


@app.command()
def generate(config: ConfigFile, set_: Overrides = None) -> None:
    """Sample the teacher and score every candidate against the members.

    Example: `pd generate configs/faces.yaml --set generate.candidates=10000`
    """
    _stage("generate", config, set_)


@app.command("filter")
def filter_(
    config: Annotated[Path | None, typer.Argument(help="settings file of a run", show_default=False)] = None,
    real: Annotated[Path | None, typer.Option(help="folder of real images, one sub-folder per identity")] = None,
    synthetic: Synthetic = None,
    out: Annotated[Path | None, typer.Option(help="folder for the decisions, Parquet")] = None,
    set_: Overrides = None,
) -> None:
    """Decide which candidates stay: those of a run, or anybody's images.

    With --real, --synthetic and --out no model is trained but the re-identification network. The real images are split, by
    identity, into members and hold-out strangers that calibrate the threshold. `OUT/*.parquet` has the columns
    `id, seed, prompt, image, score, nearest, keep, reason`; `id` is the file's path.

    Examples: `pd filter configs/faces.yaml`;
    `pd filter --real people/ --synthetic samples/ --out decisions/`;
    `pd filter --real people/ --synthetic s3://bucket/samples --out decisions/`
    """
    if real or synthetic or out:
        if config or not (real and synthetic and out):
            raise UserError("--real, --synthetic and --out go together, without a settings file", fix="give all three")
        from pd.stages.foreign import filter_folders

        counts = filter_folders(real, synthetic, out, set_ or (), Reporter())
        Console().print(f"kept {counts['kept']} of {counts['candidates']}: {shown(str(out))}", soft_wrap=True)
    elif config:
        _stage("filter", config, set_)
    else:
        raise UserError("nothing to filter", fix="give a settings file, or --real, --synthetic and --out")


@app.command()
def student(config: ConfigFile, set_: Overrides = None) -> None:
    """Train the student on the kept candidates and nothing else.

    Example: `pd student configs/faces.yaml`
    """
    _stage("student", config, set_)


@app.command()
def audit(
    config: Annotated[Path | None, typer.Argument(help="settings file of a run", show_default=False)] = None,
    real: Annotated[Path | None, typer.Option(help="folder of real images, one sub-folder per identity")] = None,
    synthetic: Synthetic = None,
    out: Annotated[Path | None, typer.Option(help="file for the figures, JSON")] = None,
    fail_above: Annotated[
        list[str] | None,
        typer.Option(help="end with exit code 3 above this: excess=0.02 (with --real)", metavar="MEASURE=LIMIT"),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Attack the arms of a run, or anybody's synthetic images, and write the figures.

    With --real and --synthetic the real identities are split into members (those that the images were made from) and
    strangers; name them yourself with a manifest's `split` column (`--set data.reader=manifest`).

    Examples: `pd audit configs/faces.yaml`;
    `pd audit --real people/ --synthetic samples/ --out audit.json`;
    `pd audit --real people/ --synthetic s3://bucket/samples.parquet --fail-above excess=0.02`
    """
    if real or synthetic or fail_above:
        if config or not (real and synthetic):
            raise UserError("--real and --synthetic go together, without a settings file", fix="give both")
        from pd.stages.foreign import audit_folders
        from pd.stages.limits import check_limits, parse_limits
        from pd.stages.summary import arms_table

        limits = parse_limits(fail_above or ())
        figures = audit_folders(real, synthetic, out, set_ or (), Reporter())
        Console().print(arms_table(figures))
        if out:
            Console().print(f"figures: {shown(str(out))}", soft_wrap=True)
        arm = figures["arms"]["synthetic"]
        Console().print(arm["reid"]["power"]["words"], soft_wrap=True)
        for line in check_limits(arm, limits):
            Console().print(line, soft_wrap=True)
    elif config:
        _stage("audit", config, set_)
    else:
        raise UserError("nothing to audit", fix="give a settings file, or --real and --synthetic")


@app.command()
def fingerprint(
    config: ConfigFile,
    doses: Annotated[str, typer.Option(help="how many images carry each mark", metavar="K,K,...")] = "1,2,4,8,16,32,64",
    set_: Overrides = None,
) -> None:
    """Plant marks in member images, and count how often teacher and student show them: what k images leave behind.

    Makes a run of its own, NAME-fingerprints, from the same settings; the ordinary run is not touched. The figures are in its
    `private/fingerprints.json`. It takes as long as a run without its audit.

    Example: `pd fingerprint configs/faces.yaml --doses 1,4,16,64`
    """
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", doses):
        raise UserError(f"'{doses}' are not whole numbers", where="--doses", fix="write --doses 1,4,16,64")
    from pd.pipeline import run_pipeline
    from pd.stages.fingerprint import STAGES, fingerprints_table, measure, prepare

    numbers = [int(dose) for dose in doses.split(",")]
    reporter = Reporter()
    settings = prepare(load_settings(config, set_ or ()), numbers, reporter)
    done = run_pipeline(settings, reporter, only=STAGES)
    Console().print(fingerprints_table(measure(settings, numbers, reporter)))
    Console().print(f"figures: {shown(str(done.private / 'fingerprints.json'))}", soft_wrap=True)


@app.command()
def sweep(
    run_: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, or its settings file")],
    full: Annotated[int | None, typer.Option(min=0, help="train and attack a short student in so many trials")] = None,
    set_: Overrides = None,
) -> None:
    """Search the filter's thresholds, and choose under the rule in `sweep` of the settings.

    Trials compare cached scores: nothing is generated or embedded again. The same command goes on after a crash.
    `RUN/private/sweep/chosen.yaml` goes into `pd run`. Exit code 2 where no trial keeps the constraints.

    Examples: `pd sweep runs/faces`;
    `pd sweep runs/faces --full 4 --set 'sweep.constraints=["excess_high <= 0.02", "kept >= 0.2"]'`
    """
    from pd.pipeline import run_sweep
    from pd.sweep.table import sweep_table

    asked = [*(set_ or ()), *([] if full is None else [f"sweep.full={full}"])]
    found = run_sweep(_settings_of_run(run_, asked), Reporter())
    console = Console()
    console.print(sweep_table(found.rows))
    for line in found.words:
        console.print(f"- {shown(line)}", soft_wrap=True)
    files = [shown(str(found.folder / name)) for name in ("sweep.html", "chosen.yaml")]
    console.print(f"page:     {files[0]}\nsettings: {files[1]}", soft_wrap=True)
    found.require()


@app.command()
def report(config: ConfigFile, set_: Overrides = None) -> None:
    """Write `private/report.html` (with real faces in it), the release's report without them, and its card.

    Example: `pd report configs/faces.yaml`
    """
    _stage("report", config, set_)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="run folders, or files of `pd audit --out`")],
    json_: Annotated[bool, typer.Option("--json", help="print JSON, a row for each arm, instead of the table")] = False,
    html: Annotated[Path | None, typer.Option(help="write a page with the table and plots of the intervals")] = None,
) -> None:
    """Set arms and runs side by side: leak, usefulness, coverage, share kept, membership inference.

    Examples: `pd compare runs/faces runs/strict --html compare.html`;
    `pd compare runs/faces --json`
    """
    from pd.stages.compare import compare_runs, compare_table

    rows = compare_runs(runs)
    if html:
        from pd.report.compare import write_comparison
        from pd.store.atomic import disk_errors

        if html.is_dir():
            raise UserError("this is a folder", where=str(html), fix="name a file, such as compare.html")
        with disk_errors(html):
            html.parent.mkdir(parents=True, exist_ok=True)
            write_comparison(rows, html)
    if json_:
        typer.echo(json.dumps({"rows": [row.as_json() for row in rows]}, indent=2))
        return
    Console().print(compare_table(rows))
    if html:
        Console().print(f"page: {shown(str(html))}", soft_wrap=True)


@app.command()
def verify(
    release: Annotated[Path, typer.Argument(help="a release folder")],
    against: Annotated[Path | None, typer.Option(help="the run's private/dataset, to look for real images")] = None,
    k: Annotated[int, typer.Option(min=1, help="people who must share a caption")] = 3,
) -> None:
    """Prove that a release is clean, or exit with code 3.

    Checks that weights are safetensors with a lineage of public weights and kept candidates only, and, with --against, that no
    real image (by bytes, pixels or re-identification) and no caption of few people is in it.

    Example: `pd verify runs/faces/release --against runs/faces/private/dataset`
    """
    from pd.stages.verify import check_release, checks_table

    found = check_release(release, against, k)
    Console().print(checks_table(found.checks))
    if not found.ok:
        raise LeakError("the release is not clean", where=str(release), fix="do not share it")
    if found.skipped:
        Console().print(
            f"No leak found, but {len(found.skipped)} checks need the real images: add --against RUN/private/dataset",
            soft_wrap=True,
        )
    else:
        Console().print("The release is clean, as far as these checks can tell.")


@app.callback(invoke_without_command=True)
def options(
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """Options of every command; `main` reads --debug itself."""
    if version:
        typer.echo(f"pd {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: one clear line for bad input (exit code 2), a traceback only with --debug."""
    os.umask(0o077)  # whatever is written, by workers that we start too, is for its owner alone
    debug = "--debug" in sys.argv
    if debug:
        sys.argv = [sys.argv[0], "--debug", *(word for word in sys.argv[1:] if word != "--debug")]
    signal.signal(signal.SIGTERM, _end)
    console = Console(stderr=True, highlight=False)
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except UserError as error:
        if debug:
            traceback.print_exc()
        _complain(console, str(error))
        sys.exit(error.exit_code)
    except OSError as error:  # a place that cannot be read or written, wherever it came up
        if debug:
            traceback.print_exc()
        _complain(console, f"{error.filename or 'a file'}: {error.strerror or type(error).__name__}")
        sys.exit(2)
    except Exception as error:
        if debug:
            raise
        if usage := getattr(error, "format_message", None):  # Typer's: an option or argument that does not fit
            command = getattr(getattr(error, "ctx", None), "command_path", "pd")
            _complain(console, f"{usage()} `{command} --help` shows what there is")
            sys.exit(2)
        # The text of an unforeseen error may hold captions or paths of people, so only its kind and place are shown.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        console.print(
            f"[bold red]pd:[/] {type(error).__name__} in {Path(frame.filename).name}:{frame.lineno}; "
            "this is a fault of pd's. `--debug` shows the traceback",
            soft_wrap=True,
        )
        sys.exit(1)
    if code == STOPPED:
        console.print("pd: stopped; the same command goes on from what is finished", soft_wrap=True)
    sys.exit(code or 0)


def _complain(console: Console, text: str) -> None:
    """One line, whatever control characters a name or a value brings along."""
    console.print(f"[bold red]pd:[/] {shown(printable(text))}", soft_wrap=True)


def _end(number: int, frame: object) -> None:
    """Leave by an exception, so that scratch folders with private images go too."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
