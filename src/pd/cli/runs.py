"""Commands for a whole run."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pd.cli.app import ConfigFile, Overrides, app, settings_from, settings_of_run
from pd.config import PRESET_DATA, Settings, commented_yaml, load_settings, parse_settings
from pd.config.mirrored import require_disk
from pd.errors import UserError
from pd.progress import Reporter, shown

if TYPE_CHECKING:
    from pd.stages.purge import Part


@app.command()
def run(config: ConfigFile, set_: Overrides = None) -> None:
    """Run every stage that is not done yet, to `private/report.html` and `release/`.

    The same command resumes after a crash or Ctrl-C, and does nothing when all is done.

    Example: `pd run configs/faces.yaml --set seed=8`
    """
    from pd.pipeline import run_pipeline
    from pd.stages.release import decided
    from pd.stages.summary import summary_table

    done = run_pipeline(settings_from(config, set_), Reporter())
    console = Console()
    console.print(summary_table(done))
    console.print(f"report:  {shown(str(done.report))}\nrelease: {shown(str(done.release))}", soft_wrap=True)
    for line in decided(done):
        console.print(shown(line), soft_wrap=True)


@app.command()
def purge(
    run_: Annotated[Path, typer.Argument(metavar="RUN", help="a finished run's folder, or its settings file")],
    keep: Annotated[list[str] | None, typer.Option(help="a part that stays: teacher, generated, ...")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Remove what a finished release no longer needs: teacher, candidates, samples, checkpoints. They remember people.

    What goes is said first. The release, the data set, the recognising network, audit and report stay, so that `pd verify`
    still proves the release. `pd run` refuses the run from then on.

    Example: `pd purge runs/faces --keep teacher`
    """
    from pd.pipeline import purge_run

    def agreed(parts: list["Part"]) -> bool:
        table = Table(title="goes")
        for heading in ("part", "what", "MB"):
            table.add_column(heading)
        for part in parts:
            table.add_row(part.name, part.what, f"{part.bytes / 1e6:.1f}")
        Console().print(table)
        if not yes and not sys.stdin.isatty():
            raise UserError(
                "nobody is here to agree", code="bad-options", where="--yes", fix="add --yes to remove them without being asked"
            )
        return yes or typer.confirm("Remove them? They cannot be had back.")

    gone = purge_run(settings_of_run(run_), keep or (), agreed)
    Console().print(f"removed {sum(part.bytes for part in gone) / 1e6:.1f} MB" if gone else "nothing was removed")


@app.command()
def runs(
    person: Annotated[str, typer.Option("--with", help="an identity, as the data have it", metavar="PERSON")],
    folder: Annotated[Path, typer.Option("--in", help="a folder of runs, or one run")] = Path("runs"),
) -> None:
    """List the runs that have images of a person, for the custodian: what must be made anew when somebody withdraws.

    `member`: teacher, student and data come from the person's images, too; withdraw that release. `holdout`: the person's
    images set thresholds and are strangers of the audit; no generator has seen them. Copies and S3 are not looked at.

    Example: `pd runs --with s12 --in runs`
    """
    from pd.stages.withdrawn import runs_with

    require_disk("--in", folder)
    found = runs_with(person, folder)
    if not found:
        Console().print("no run here has images of this person")
        return
    table = Table()
    for heading in ("run", "split", "images", "release"):
        table.add_column(heading)
    for one in found:
        release = shown(str(one.run / "release")) if one.released else "none"
        table.add_row(shown(str(one.run)), one.split, str(one.images), release)
    Console().print(table)


@app.command()
def methods() -> None:
    """List the methods: where each is written down, where it is set, and which figure must get better by it, which not worse.

    Example: `pd methods`
    """
    from pd.methods import METHODS

    table = Table(title="methods", show_lines=True)
    for heading in ("method", "where it is", "what its figures must show"):
        table.add_column(heading, overflow="fold")
    for one in METHODS:
        where = f"{one.room}\nused by {one.stage}\nset by {one.setting}"
        table.add_row(f"[bold]{one.id}[/]\n{one.paper}", where, f"better: {one.improves}\nno worse: {one.keeps}")
    Console().print(table)


@app.command()
def submit(
    config: ConfigFile,
    set_: Overrides = None,
    stage: Annotated[str, typer.Option(help="a single stage, as `teacher`, or `sweep`; else all that is not done")] = "run",
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
        raise UserError(f"no job does '{stage}'", code="unknown-name", where="--stage", fix=f"choose of {', '.join(COMMANDS)}")
    raise typer.Exit(submit_job(load_settings(config, set_ or ()), stage, Reporter(), follow))


@app.command()
def plan(
    config: ConfigFile,
    set_: Overrides = None,
    json_: Annotated[bool, typer.Option("--json", help="print all of it as JSON")] = False,
) -> None:
    """Say what a run will need, by stage, before anyone pays for it: GPU or core hours, time and storage.

    Reads some of the images, and trains and samples the settings' own models for some seconds, on this machine; with
    `pd submit --stage plan` on the one where the cluster's jobs begin.

    Example: `pd plan configs/faces.yaml`
    """
    settings, reporter = settings_from(config, set_), Reporter()
    reporter.say("measuring on this machine, for a minute or two")  # what follows is slow to import
    from pd.engine.probe import measure
    from pd.stages.plan import as_json, needs_table
    from pd.stages.plan import plan as reckon

    rates = measure(settings, reporter)
    needs = reckon(settings, rates)
    if json_:
        typer.echo(json.dumps(as_json(settings, rates, needs), indent=2))
    else:
        Console().print(needs_table(settings, rates, needs))


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="file to write")] = Path("pd.yaml"),
    force: Annotated[bool, typer.Option("--force", help="write over a file that is there")] = False,
    preset: Annotated[str | None, typer.Option(help="a public layout, as docs/formats.md lists them: nih_chestxray14")] = None,
) -> None:
    """Write a settings file with every key, its default and what it means.

    With --preset the images are read as that layout has them: fill in `data.path`, and run it.

    Examples: `pd init chest.yaml`;
    `pd init nih.yaml --preset nih_chestxray14`
    """
    from pd.store.atomic import disk_errors

    require_disk("PATH", path)
    if path.exists() and not force:
        raise UserError(
            "there is such a file already", code="already-there", where=str(path), fix="choose another name, or use --force"
        )
    settings = _named(path)
    if preset is not None:
        data = parse_settings({"data": {"preset": preset, **PRESET_DATA.get(preset, {})}}, where="--preset").data
        settings = settings.model_copy(update={"data": data})
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commented_yaml(settings), encoding="utf-8")
    keys = "data.path" if preset else "data.reader and data.path"
    Console().print(f"wrote {shown(str(path))}; set {keys}, then: pd run {shown(str(path))}", soft_wrap=True)


def _named(path: Path) -> Settings:
    """The defaults, the run named like its settings file: a second file is a second run."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip(".-_")[:60]
    return Settings(name=name or "pd")


@app.command()
def status(
    run_: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, here or at s3://, or its settings file")],
) -> None:
    """Show each stage's state, time and size.

    Example: `pd status runs/faces`
    """
    from pd.pipeline import dashboard_pages, states
    from pd.stages.purge import purged
    from pd.store.run import Run

    settings = settings_of_run(run_)
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
    if gone := purged(Run(settings.run_dir)):
        Console().print(f"purged of {', '.join(gone)}: the release stands as it is", soft_wrap=True)
    for page, address in dashboard_pages(settings).items():
        Console().print(f"{page} on Ray's dashboard: {shown(address)}", soft_wrap=True)
