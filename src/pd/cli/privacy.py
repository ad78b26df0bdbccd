"""Commands about formal privacy: what a budget buys, what was spent, and lower bounds for anybody's training."""

import json
import math
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pd.cli.app import Overrides, app
from pd.config import load_settings
from pd.errors import UserError
from pd.progress import shown

audit_epsilon = typer.Typer(
    no_args_is_help=True,
    help="A lower bound on the epsilon of anybody's training: put canaries into a folder, train, then judge their scores.",
)
app.add_typer(audit_epsilon, name="audit-epsilon")


@app.command()
def budget(
    config: Annotated[
        Path | None, typer.Argument(help="settings file with a section `formal` or `classifier`", show_default=False)
    ] = None,
    set_: Overrides = None,
    people: Annotated[int | None, typer.Option(help="members; else counted in the run's data set, or in the images")] = None,
    over: Annotated[list[Path] | None, typer.Option(help="runs whose spending on one data set is added up")] = None,
    json_: Annotated[bool, typer.Option("--json", help="print it as JSON")] = False,
) -> None:
    """Say what the sections `formal` and `classifier` cost and what can be expected of them, before any training.

    With --over, what releases of these runs have spent together.

    Examples: `pd budget configs/fashion_private.yaml`, `pd budget --over runs/a --over runs/b`
    """
    from pd.stages.budget import budget_of, count_people, spent_by

    if over:
        rows = spent_by(over)
    elif config is None:
        raise UserError(
            "name a settings file, or --over RUN", code="bad-options", where="pd budget", fix="`pd budget configs/faces.yaml`"
        )
    else:
        settings = load_settings(config, set_ or ())
        rows = budget_of(settings, people or count_people(settings))
    if json_:
        typer.echo(json.dumps({name: None if isinstance(v, float) and math.isinf(v) else v for name, v in rows.items()}))
        return
    table = Table(title="pd budget")
    table.add_column("")
    table.add_column("")
    for name, value in rows.items():
        table.add_row(shown(name), shown(f"{value:.4g}" if isinstance(value, float) else str(value)))
    Console().print(table)


@audit_epsilon.command()
def insert(
    images: Annotated[Path, typer.Argument(help="a folder with one sub-folder a person")],
    out: Annotated[Path, typer.Option(help="the folder to write: the images, and about half of the canaries")],
    canaries: Annotated[int, typer.Option(help="how many", min=10)] = 500,
    size: Annotated[int, typer.Option(help="side of a canary, pixels", min=8, max=1024)] = 32,
    seed: Annotated[int, typer.Option(help="of canaries and coins; keep it to yourself")] = 7,
) -> None:
    """Copy a folder of images and put canaries among them, each by the toss of a coin.

    Beside OUT stand `OUT-canaries/` with all canaries and `key.json` with what is in. Train on OUT, score every canary (higher:
    more as if it had been learned from), then `pd audit-epsilon judge`.

    Example: `pd audit-epsilon insert people/ --out people-with-canaries`
    """
    from pd.stages.canary_folder import insert as put

    key = put(images, out, canaries, size, seed)
    Console().print(f"wrote {shown(str(out))} and {shown(str(key))}", soft_wrap=True)


@audit_epsilon.command()
def judge(
    scores: Annotated[Path, typer.Argument(help="CSV with the columns canary,score")],
    key: Annotated[Path, typer.Option(help="key.json, as `insert` wrote it")],
    delta: Annotated[float, typer.Option(help="of the claim", min=0.0, max=1.0)] = 1e-5,
    claim: Annotated[float | None, typer.Option(help="an epsilon to refute: exit code 3 when it is")] = None,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999999)] = 0.95,
) -> None:
    """Say which epsilons the scores refute (one-run audit, arXiv 2305.08846).

    Example: `pd audit-epsilon judge scores.csv --key people-with-canaries-canaries/key.json --claim 1`
    """
    from pd.stages.canary_folder import judge_file

    found = judge_file(scores, key, delta, confidence)
    Console().print(
        f"epsilon is at least {found.epsilon:.3g} with {confidence:.1%} confidence "
        f"({found.right} of {found.guesses} guesses right, {found.canaries} canaries)",
        soft_wrap=True,
    )
    if claim is not None and found.epsilon > claim:
        Console().print(f"a claim of {claim:g} is refuted")
        raise typer.Exit(3)
