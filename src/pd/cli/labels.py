"""The command that makes labels: from votes, or from few labels and the images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pd.audit.estimate import Estimate
from pd.cli.app import Overrides, app
from pd.config.mirrored import require_disk
from pd.errors import UserError
from pd.progress import Reporter, shown


@app.command()
def labels(
    out: Annotated[Path, typer.Option(help="folder for labels and figures; and annotators, or the classifier")],
    votes: Annotated[
        Path | None, typer.Option(help="CSV or Parquet with the columns image, annotator, label: one row a vote")
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="the images, for methods that look at them: a folder, Parquet, tar, a table, DICOM, a saved data set, clips; "
            "here or at s3://; other layouts by --set data.preset=NAME"
        ),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="instead of votes: column with gaps to fill, a label of --images, or of --table")
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet with the columns image, the label's and, where people are known, identity"),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="of votes: majority | dawid_skene (default) | crowd_layer | ccc; the last two look at the images. "
            "Of a column with gaps: semi_vit"
        ),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Work out the labels of images: from the votes of several annotators, or from few labels.

    Votes: `OUT/labels.parquet` has the columns `image, label, probability`; `OUT/annotators.csv` names the annotators, the
    least reliable first, with 95 % intervals. Both are private. Without networks nothing but the votes is read; `ccc` trains
    two networks, minutes for thousands of images, and the same command resumes what was stopped.

    Few labels: a vision transformer learns from the images with a label and from those without (Semi-ViT), fills the gaps, and
    leaves open what it is not sure of. `OUT/figures.json` says how right it is on people whom it did not learn from;
    `OUT/model` is the classifier, as safetensors and ONNX. All of it is private.

    Examples: `pd labels --votes votes.csv --out labels/`;
    `pd labels --votes votes.parquet --images people/ --method ccc --out labels/ --set data.size=64`;
    `pd labels --images people.parquet --labels smiling --method semi_vit --out labels/ --set data.size=64`
    """
    require_disk("--out", out)
    if (votes is None) == (labels is None):
        raise UserError(
            "name either --votes or --labels", code="bad-options", where="pd labels", fix="--labels goes with --images"
        )
    if labels is not None:
        _fill(images, labels, table, out, method, set_)
        return
    assert votes is not None
    if table is not None:
        raise UserError("--table goes with --labels", code="bad-options", where="pd labels", fix="leave it out")
    from pd.stages.label_images import label_images

    chosen = [f"labels.method={method}"] if method else []
    found = label_images(votes, images, out, [*chosen, *(set_ or ())], Reporter())
    rows = (
        ("images with a label", f"{found.labelled} of {found.images}"),
        ("votes", f"{found.votes} of {found.annotators} annotators, {found.classes} classes"),
        ("changed against the majority", f"{found.changed:.1%}"),
        ("mean probability", f"{found.confidence:.3f}"),
    )
    _tell(rows, found.method, out)


def _fill(images: str | None, column: str, table: Path | None, out: Path, method: str | None, set_: Overrides) -> None:
    if images is None:
        raise UserError("--labels goes with --images", code="bad-options", where="pd labels", fix="name the images")
    from pd.stages.fill_images import fill_images

    chosen = [f"labels.method={method}"] if method else []
    found = fill_images(images, column, table, out, [*chosen, *(set_ or ())], Reporter())

    def rate(one: Estimate | None) -> str:
        return f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%})" if one else "not measured"

    rows = (
        ("labels known", f"{found.labelled} of {found.images} images, {found.classes} classes"),
        ("gaps filled", f"{found.filled}; left open: {found.open}"),
        (f"measured on {found.tested} images, split by {found.split}", ""),
        ("precision of labels given", rate(found.precision)),
        ("share given", rate(found.answered)),
    )
    _tell(rows, found.method, out)


def _tell(rows: Sequence[tuple[str, str]], method: str, out: Path) -> None:
    table = Table("labels", "", show_header=False)
    for name, value in rows:
        table.add_row(name, value)
    Console().print(table)
    Console().print(f"{method}: {shown(str(out))}", soft_wrap=True)
