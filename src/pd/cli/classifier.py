"""The command that trains a private classifier: of a run, or of anybody's images."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pd.cli.app import Images, Overrides, RunConfig, app, run_stage
from pd.config.mirrored import require_disk
from pd.errors import UserError
from pd.progress import Reporter, shown


@app.command()
def classifier(
    config: RunConfig = None,
    images: Images = None,
    label: Annotated[
        str | None, typer.Option(help="a label: column of the table, or of the Parquet (label.NAME without label.); `folder`")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder for the classifier of --images")] = None,
    set_: Overrides = None,
) -> None:
    """Train a classifier with an epsilon, by votes of teachers on disjoint people or by DP-SGD; see docs/private-classifier.md.

    Of --images a column `identity`, or what a reader takes for it (PatientID of DICOM), says who is in each; where nobody is
    named each image counts as a person.

    Examples: `pd classifier mine.yaml --set classifier.label=glasses`;
    `pd classifier --images people.parquet --label smiling --out smiling/ --set classifier.method=dp_sgd`
    """
    if images is None:
        if config is None:
            raise UserError(
                "nothing to learn from", code="bad-options", where="pd classifier", fix="name a settings file, or --images"
            )
        run_stage("classifier", config, set_)
        return
    if config is not None or label is None or out is None:
        raise UserError(
            "--images goes with --label and --out",
            code="bad-options",
            where="pd classifier",
            fix="name both, and no settings file",
        )
    require_disk("--out", out)
    from pd.stages.classifier_images import classifier_of_images

    found = classifier_of_images(images, label, out, set_ or (), Reporter())
    epsilon, bound = found["epsilon"], found["lower bound"]
    told = f"epsilon {epsilon:.3g} at delta {found['delta']:g}" if isinstance(epsilon, float) else "no guarantee"
    told += f" (lower bound {bound:.3g})" if isinstance(bound, float) else f" (lower bound {bound})"
    words = f"{found['classes']} classes from {found['images']} images of {found['people']} people, {told}"
    Console().print(f"{words}: {shown(str(out))}", soft_wrap=True)
