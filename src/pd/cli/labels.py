"""The command that makes labels."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pd.cli.app import Overrides, app
from pd.config.mirrored import require_disk
from pd.progress import Reporter, shown


@app.command()
def labels(
    votes: Annotated[Path, typer.Option(help="CSV or Parquet with the columns image, annotator, label: one row a vote")],
    out: Annotated[Path, typer.Option(help="folder for labels, annotators and figures")],
    images: Annotated[
        str | None,
        typer.Option(help="the images, for methods that look at them: a folder, Parquet or tar; or s3://bucket/prefix"),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="majority | dawid_skene (default) | crowd_layer | ccc; the last two look at the images")
    ] = None,
    set_: Overrides = None,
) -> None:
    """Work out the labels of images from the votes of several annotators, and how reliable each annotator is.

    `OUT/labels.parquet` has the columns `image, label, probability`; `OUT/annotators.csv` names the annotators, the least
    reliable first, with 95 % intervals. Both are private. Without networks nothing but the votes is read; `ccc` trains two
    networks, minutes for thousands of images, and the same command resumes what was stopped.

    Examples: `pd labels --votes votes.csv --out labels/`;
    `pd labels --votes votes.parquet --images people/ --method ccc --out labels/ --set data.size=64`
    """
    require_disk("--out", out)
    from pd.stages.label_images import label_images

    chosen = [f"labels.method={method}"] if method else []
    found = label_images(votes, images, out, [*chosen, *(set_ or ())], Reporter())
    table = Table("labels", "", show_header=False)
    for name, value in (
        ("images with a label", f"{found.labelled} of {found.images}"),
        ("votes", f"{found.votes} of {found.annotators} annotators, {found.classes} classes"),
        ("changed against the majority", f"{found.changed:.1%}"),
        ("mean probability", f"{found.confidence:.3f}"),
    ):
        table.add_row(name, value)
    Console().print(table)
    Console().print(f"{found.method}: {shown(str(out))}", soft_wrap=True)
