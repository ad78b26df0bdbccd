"""The command `pd`, and what its commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pd import __version__
from pd.config import Settings, load_settings
from pd.config.mirrored import MirrorPath, as_written, mirrored_run
from pd.errors import UserError
from pd.progress import Reporter
from pd.stages.bucket import fetch_state
from pd.store.run import Run

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
RunConfig = Annotated[Path | None, typer.Argument(help="settings file of a run", show_default=False)]
Images = Annotated[
    str | None,
    typer.Option(
        help="instead: images, a folder with a sub-folder a class, Parquet, a table, DICOM, a saved data set or clips; "
        "here or at s3://; other layouts by --set data.preset=NAME"
    ),
]
Synthetic = Annotated[  # text: a Path would make one slash of the two in s3://
    str | None,
    typer.Option(
        help="somebody's synthetic images: a folder, Parquet, tar shards, a table, DICOM, a saved data set or clips; "
        "here or at s3://",
        metavar="PATH",
    ),
]
SyntheticAs = Annotated[
    str | None,
    typer.Option(
        help="how --synthetic is read, where it is not as it looks: a reader (manifest, huggingface, dicom, video) or a preset",
        metavar="NAME",
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="override one setting: --set teacher.steps=200", metavar="KEY=VALUE")
]


@app.callback(invoke_without_command=True)
def options(
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
    version: Annotated[bool, typer.Option("--version", help="print the version")] = False,
) -> None:
    """Options of every command; `main` reads --debug itself."""
    if version:
        typer.echo(f"pd {__version__}")
        raise typer.Exit


def settings_of_run(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Settings of a run folder (its own copy), here or at `s3://`, or of a settings file."""
    path = mirrored_run(path)
    if not isinstance(path, MirrorPath) and not path.is_dir():
        return settings_from(path, overrides)
    fetch_state(Run(path))
    where = f"runs={as_written(path.absolute().parent)}"
    kept = path / "private" / "settings.yaml"
    if not kept.exists():
        raise UserError(
            "no run in this folder",
            code="no-run",
            where=as_written(path),
            fix="name a run folder such as runs/faces, or a settings file",
        )
    return load_settings(kept, [*overrides, where, f"name={path.absolute().name}"])


def run_stage(name: str, config: Path, overrides: list[str] | None) -> None:
    from pd.pipeline import run_pipeline

    settings = settings_from(config, overrides)
    # What is kept of each prompt is the filter's to say, and what is made besides follows from it.
    before = ["top_up"] if name == "filter" and settings.generate.tops_up else []
    run_pipeline(settings, Reporter(), only=[*before, name])


def settings_from(config: Path, overrides: Sequence[str] | None) -> Settings:
    """Settings of a run that is to be worked on, here or as a job of a cluster."""
    from pd.engine.submitted_job import settle

    return settle(load_settings(config, overrides or ()))
