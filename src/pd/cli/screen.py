"""The command that screens clips of video."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pd.cli.app import Overrides, app, run_stage
from pd.config.mirrored import require_disk
from pd.errors import UserError
from pd.progress import Reporter, shown


@app.command()
def screen(
    config: Annotated[Path | None, typer.Argument(help="settings file of a run on video", show_default=False)] = None,
    real: Annotated[
        Path | None, typer.Option(help="instead: clips known to be real, a folder with a sub-folder a person, or a manifest")
    ] = None,
    clips: Annotated[Path | None, typer.Option(help="the clips to screen: a folder, a manifest or one video")] = None,
    forged: Annotated[
        Path | None,
        typer.Option(help="clips known to be forged, a sub-folder a generator; else made of the real ones"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the table and the page; private, it shows faces")] = None,
    set_: Overrides = None,
) -> None:
    """Flag clips of video that may be forged, for a person to look at (NACO); see docs/screen.md.

    `OUT/clips.csv` lists every clip with its score and expected errors; `OUT/screen.html` shows the most suspicious. Nothing is
    removed. No detector is good at forgeries of a kind it has not seen: each score comes with the errors to expect of it.

    Examples: `pd screen --real real/ --clips new/ --out screened/`; `pd screen mine.yaml --set 'screen={}'`
    """
    if real is None and clips is None:
        if config is None:
            raise UserError(
                "nothing to screen",
                code="bad-options",
                where="pd screen",
                fix="name a settings file, or --real, --clips and --out",
            )
        run_stage("screen", config, set_)
        return
    if config is not None or real is None or clips is None or out is None:
        fix = "name all three, and no settings file"
        raise UserError("--real goes with --clips and --out", code="bad-options", where="pd screen", fix=fix)
    require_disk("--out", out)
    from pd.stages.screen_clips import screen_clips

    found = screen_clips(real, forged, clips, out, set_ or (), Reporter())
    table = Table(title="most suspicious clips")
    for heading in ("clip", "score", "flagged", "real clips that score so", "unseen forgeries that score below"):
        table.add_column(heading)
    for row in found.rows[:10]:
        if row.score is not None:
            flagged = "yes" if row.flagged else ""
            table.add_row(shown(row.name), f"{row.score:.3f}", flagged, f"{row.false_alarms:.0%}", f"{row.missed:.0%}")
    console = Console()
    console.print(table)
    for line in found.lines:
        console.print(shown(line), soft_wrap=True)
    console.print(f"table and page: {shown(str(out))}", soft_wrap=True)
