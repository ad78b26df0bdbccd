"""The command that condenses: a run's kept candidates, or anybody's images."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pd.cli.app import Images, Overrides, RunConfig, app, run_stage
from pd.config.mirrored import require_disk
from pd.errors import UserError
from pd.progress import Reporter, shown


@app.command()
def condense(
    config: RunConfig = None,
    images: Images = None,
    label: Annotated[
        str | None,
        typer.Option(help="labels by commas: columns of the table, or of the Parquet (label.NAME without label.); `folder`"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the condensed pictures of --images")] = None,
    set_: Overrides = None,
) -> None:
    """Condense the kept candidates of a run, or anybody's images, to a few pictures a class; see docs/condense.md.

    What is made of --images is as private as they are: nothing of it is filtered or audited (`pd audit` does that).

    Examples: `pd condense mine.yaml --set 'condense.labels=[glasses]'`;
    `pd condense --images people.parquet --label smiling --out small/ --set data.size=64 --set condense.method=m3d`
    """
    if images is None:
        if config is None:
            raise UserError(
                "nothing to condense", code="bad-options", where="pd condense", fix="name a settings file, or --images"
            )
        run_stage("condense", config, set_)
        return
    if config is not None or label is None or out is None:
        raise UserError(
            "--images goes with --label and --out",
            code="bad-options",
            where="pd condense",
            fix="name both, and no settings file",
        )
    require_disk("--out", out)
    from pd.stages.condense_images import condense_images

    found = condense_images(images, label, out, set_ or (), Reporter())
    words = f"{found['pictures']} pictures of {found['classes']} classes, from {found['from']}"
    Console().print(f"{words}: {shown(str(out))} (not audited)", soft_wrap=True)
