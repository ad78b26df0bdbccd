"""The command that looks before a long run."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pd.cli.app import Overrides, app, settings_from
from pd.progress import printable, shown

_MARKS = {"ok": "[green]ok[/]      ", "todo": "[bold red]to do[/]   ", "left out": "[dim]left out[/]"}


@app.command()
def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="settings of the run that is to be; else this machine and the cluster")
    ] = None,
    set_: Overrides = None,
    address: Annotated[str | None, typer.Option(help="of Ray's head, host:port; else as a run finds it")] = None,
) -> None:
    """Check machine, cluster, storage, data and licence before a long run: a line each, well or what to do.

    A cluster's head is asked for its address, token and certificate; each of its machines for its versions, clock, GPUs,
    disk and shared memory, and whether it reaches this process and what runs lie on. A bucket is written, read, listed and
    deleted from; an empty folder `.doctor` may stay there, else nothing does. Exit code 1: something is to do.

    Example: `pd doctor mine.yaml`
    """
    from pd.doctor.examine import examine

    settings = settings_from(config, set_) if config is not None else None
    console, faults = Console(highlight=False), 0
    for one in examine(settings, address):
        faults += one.state == "todo"
        fix = f". {one.fix}" if one.fix else ""
        console.print(f"{_MARKS[one.state]}  {one.check}: {shown(printable(one.says + fix))}", soft_wrap=True)
    if faults:
        raise typer.Exit(1)
