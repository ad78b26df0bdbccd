"""The command that trains a recogniser by itself."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pd.cli.app import Overrides, app
from pd.config.mirrored import require_disk
from pd.errors import UserError
from pd.progress import Reporter, shown

_NAMES = {"auc": "AUC", "rank1": "rank-1", "tpr": "TPR at 1e-3", "accuracy": "accuracy"}


@app.command()
def recognise(
    train: Annotated[str, typer.Option(help="whom to learn: a folder of people, or a manifest; or at s3://", metavar="PEOPLE")],
    test: Annotated[str, typer.Option(help="other people, to try it on", metavar="PEOPLE")],
    out: Annotated[Path, typer.Option(help="folder for the network and its figures")],
    label: Annotated[str | None, typer.Option(help="column of classes to tell apart instead of people")] = None,
    method: Annotated[str | None, typer.Option(help="supcon | crrcd (default) | aird | g2d")] = None,
    adapt: Annotated[
        float, typer.Option(min=0, max=1, help="move batch norm so far to each set that is looked at (aird): 0.3, say")
    ] = 0.0,
    set_: Overrides = None,
) -> None:
    """Train a recogniser that sees small, shifted or half-hidden pictures, and say how well it does, with 95 % intervals.

    `crrcd` is for low resolution, `aird` for blur, noise and low contrast, too, `g2d` for hidden parts; see docs/recognise.md.
    `OUT` holds `model.safetensors`, `config.json`, `figures.json`, `lineage.json` and, where onnx is installed, `model.onnx`:
    `network:OUT` is an attacker. The network is as private as the people it learned. The same command resumes what was
    stopped.

    Examples: `pd recognise --train people/ --test others/ --out recogniser/`;
    `pd recognise --train cars.parquet --test more.parquet --label model --out cars/ --set data.size=64 --set data.mode=rgb`
    """
    require_disk("--out", out)
    if method is not None and any(one.startswith("reid.method") for one in set_ or ()):
        raise UserError("--method and --set reid.method say the same", code="bad-options", where="pd recognise", fix="give one")
    from pd.stages.recognise import recognise as run

    chosen = [f"reid.method={method}"] if method else []
    found = run(train, test, out, [*chosen, *(set_ or ())], Reporter(), label, adapt)
    names = list(next(iter(found.figures.values())))
    over = "people" if label is None else "pictures"
    table = Table("shown as", *(_NAMES[name] for name in names), title=f"95 % intervals over {over}")
    for view, figures in found.figures.items():
        table.add_row(view, *(f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for one in figures.values()))
    Console().print(table)
    if adapt:
        Console().print(f"figures of the network adapted by {adapt:g} to each set; the files hold it as it was learned")
    kinds = "safetensors and ONNX" if found.onnx else f"safetensors (no model.onnx: {found.why})"
    what = "people" if label is None else "classes"
    Console().print(
        f"learned {found.people[0]} {what}, looked for {found.people[1]}; {kinds}: {shown(str(out))}", soft_wrap=True
    )
