"""Commands that filter, attack, search, compare and prove."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pd.cli.app import ConfigFile, Overrides, RunConfig, Synthetic, SyntheticAs, app, run_stage, settings_of_run
from pd.config import load_settings
from pd.config.mirrored import mirrored_run, require_disk
from pd.errors import LeakError, UserError
from pd.progress import Reporter, shown

_REAL = (
    "real images: a folder of people, a manifest, DICOM, a data set or shards, here or at s3://; "
    "other layouts by --set data.preset=NAME"
)


@app.command("filter")
def filter_(
    config: RunConfig = None,
    real: Annotated[str | None, typer.Option(help=_REAL, metavar="PATH")] = None,
    synthetic: Synthetic = None,
    synthetic_as: SyntheticAs = None,
    out: Annotated[Path | None, typer.Option(help="folder for the decisions, Parquet")] = None,
    set_: Overrides = None,
) -> None:
    """Decide which candidates stay: those of a run, or anybody's images.

    With --real, --synthetic and --out no model is trained but the re-identification network. The real images are split, by
    identity, into members and hold-out strangers that calibrate the threshold; they are compared at 32x32 pixels, grey (for
    larger or coloured ones add `--set data.size=64 --set data.mode=rgb`). `OUT/*.parquet` has the columns
    `id, seed, prompt, image, score, nearest, keep, reason`; `id` is the file's path.

    Examples: `pd filter configs/faces.yaml`;
    `pd filter --real people/ --synthetic samples/ --out decisions/`;
    `pd filter --real people/ --synthetic s3://bucket/samples --out decisions/`
    """
    require_disk("--out", out)
    _with_synthetic(synthetic, synthetic_as)
    if real or synthetic or out:
        if config or not (real and synthetic and out):
            raise UserError(
                "--real, --synthetic and --out go together, without a settings file", code="bad-options", fix="give all three"
            )
        from pd.audit.results import AtPoint
        from pd.stages.external import filter_folders
        from pd.stages.summary import tested_table

        found = filter_folders(real, synthetic, out, set_ or (), Reporter(), synthetic_as)
        Console().print(tested_table(found.at_chosen or AtPoint()))
        Console().print(f"kept {found.kept} of {found.candidates}: {shown(str(out))}", soft_wrap=True)
    elif config:
        run_stage("filter", config, set_)
    else:
        raise UserError("nothing to filter", code="bad-options", fix="give a settings file, or --real, --synthetic and --out")


@app.command()
def audit(
    config: RunConfig = None,
    real: Annotated[str | None, typer.Option(help=_REAL, metavar="PATH")] = None,
    synthetic: Synthetic = None,
    synthetic_as: SyntheticAs = None,
    out: Annotated[Path | None, typer.Option(help="file for the figures, JSON")] = None,
    fail_above: Annotated[
        list[str] | None,
        typer.Option(
            help="a limit: excess, copies, extraction, best_match or hidden_half, as excess=0.03 (with --real). "
            "Exit code 0: clear, the "
            "interval lies below; 3: leak, above; 4: it cannot tell",
            metavar="MEASURE=LIMIT",
        ),
    ] = None,
    set_: Overrides = None,
) -> None:
    """Attack the arms of a run, or anybody's synthetic images, and write the figures.

    With --real and --synthetic the real identities are split into members (those that the images were made from) and
    strangers at random; name them yourself with a manifest's `split` column. Images are compared at 32x32 pixels, grey: for
    larger or coloured ones add `--set data.size=64 --set data.mode=rgb`.

    Limits: `excess`, the share of samples that pass for a member beyond chance, by the worst attacker; `copies`, the share that
    are a copy of a member's picture, altered or not; `extraction`, the share that are a member's picture made again and again;
    `hidden_half`, how much better members' hidden halves are guessed than strangers'. `excess_low` and so on ask only that no
    leak above the limit is shown. Exit codes: 0 clear, 3 leak, 4 cannot tell (what would tell is said), 2 bad input.

    Examples: `pd audit configs/faces.yaml`;
    `pd audit --real people/ --synthetic samples/ --out audit.json`;
    `pd audit --real people/ --synthetic s3://bucket/samples.parquet --fail-above excess=0.03 --fail-above copies=0.01`
    """
    require_disk("--out", out)
    _with_synthetic(synthetic, synthetic_as)
    if real or synthetic:
        if config or not (real and synthetic):
            raise UserError("--real and --synthetic go together, without a settings file", code="bad-options", fix="give both")
        from pd.stages.external import audit_folders
        from pd.stages.limits import judge_limits, parse_limits
        from pd.stages.summary import arms_table, measures_table

        limits = parse_limits(fail_above or ())
        figures = audit_folders(real, synthetic, out, set_ or (), Reporter(), synthetic_as)
        arm = figures.arms["synthetic"]
        drawn = bool(figures.images and figures.images.split_drawn)
        gate = judge_limits(arm, limits, split_drawn=drawn, planted=figures.real.planted if figures.real else None)
        for line in gate.lines:
            Console().print(shown(line), soft_wrap=True)
        Console().print(arms_table(figures))
        if out:
            Console().print(f"figures: {shown(str(out))}", soft_wrap=True)
        Console().print(measures_table(arm))
        gate.check()
    elif config:
        if fail_above:
            fix = "give --real and --synthetic, such as a run's people and its release/data"
            raise UserError("limits are for images, not for runs", code="bad-options", where="--fail-above", fix=fix)
        if out:
            fix = "leave it out: a run's figures go to private/audit.json and release/audit.json"
            raise UserError("a run has its own place for figures", code="bad-options", where="--out", fix=fix)
        run_stage("audit", config, set_)
    else:
        raise UserError("nothing to audit", code="no-images", fix="give a settings file, or --real and --synthetic")


def _with_synthetic(synthetic: str | None, synthetic_as: str | None) -> None:
    if synthetic_as is not None and synthetic is None:
        raise UserError("--synthetic-as goes with --synthetic", code="bad-options", fix="name both")


@app.command()
def fingerprint(
    config: ConfigFile,
    repetitions: Annotated[str, typer.Option(help="how many images carry each canary", metavar="K,K,...")] = "1,2,4,8,16,32,64",
    set_: Overrides = None,
) -> None:
    """Plant canaries in member images, and count how often teacher and student show them: what k images leave behind.

    Makes a run of its own, NAME-fingerprints, from the same settings; the ordinary run is not touched. The figures are in its
    `private/fingerprints.json`. It takes as long as a run without its audit.

    Example: `pd fingerprint configs/faces.yaml --repetitions 1,4,16,64`
    """
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", repetitions):
        raise UserError(
            f"'{repetitions}' are not whole numbers",
            code="bad-value",
            where="--repetitions",
            fix="write --repetitions 1,4,16,64",
        )
    from pd.pipeline import run_pipeline
    from pd.stages.fingerprint import STAGES, fingerprints_table, measure, prepare

    numbers = [int(repeated) for repeated in repetitions.split(",")]
    reporter = Reporter()
    settings = prepare(load_settings(config, set_ or ()), numbers, reporter)
    done = run_pipeline(settings, reporter, only=STAGES)
    Console().print(fingerprints_table(measure(settings, numbers, reporter)))
    Console().print(f"figures: {shown(str(done.private / 'fingerprints.json'))}", soft_wrap=True)


@app.command()
def sweep(
    run_: Annotated[Path, typer.Argument(metavar="RUN", help="a run folder, here or at s3://, or its settings file")],
    full: Annotated[int | None, typer.Option(min=0, help="train and attack a short student in so many trials")] = None,
    set_: Overrides = None,
) -> None:
    """Search the filter's thresholds, and choose under the rule in `sweep` of the settings.

    Trials compare cached scores: nothing is generated or embedded again. The same command resumes after a crash.
    `RUN/private/sweep/chosen.yaml` goes into `pd run`. Exit code 2 where no trial keeps the constraints.

    Examples: `pd sweep runs/faces`;
    `pd sweep runs/faces --full 4 --set 'sweep.constraints=["excess_high <= 0.02", "kept >= 0.2"]'`
    """
    from pd.pipeline import run_sweep
    from pd.sweep.table import sweep_table

    asked = [*(set_ or ()), *([] if full is None else [f"sweep.full={full}"])]
    found = run_sweep(settings_of_run(run_, asked), Reporter())
    console = Console()
    console.print(sweep_table(found.rows))
    for line in found.words:
        console.print(f"- {shown(line)}", soft_wrap=True)
    files = [shown(str(found.folder / name)) for name in ("sweep.html", "chosen.yaml")]
    console.print(f"page:     {files[0]}\nsettings: {files[1]}", soft_wrap=True)
    found.require()


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="run folders, or files of `pd audit --out`")],
    json_: Annotated[bool, typer.Option("--json", help="print JSON, a row for each arm, instead of the table")] = False,
    html: Annotated[Path | None, typer.Option(help="write a page with the table and plots of the intervals")] = None,
) -> None:
    """Set arms and runs side by side: every leak that was looked for, usefulness, coverage, share kept, power.

    Examples: `pd compare runs/faces runs/strict --html compare.html`;
    `pd compare runs/faces --json`
    """
    from pd.stages.compare import compare_runs, compare_table

    require_disk("--html", html)
    rows = compare_runs(runs)
    if html:
        from pd.report.compare import write_comparison
        from pd.store.atomic import disk_errors

        if html.is_dir():
            raise UserError("this is a folder", code="no-such-file", where=str(html), fix="name a file, such as compare.html")
        with disk_errors(html):
            html.parent.mkdir(parents=True, exist_ok=True)
            write_comparison(rows, html)
    if json_:
        typer.echo(json.dumps({"rows": [row.as_json() for row in rows]}, indent=2))
        return
    Console().print(compare_table(rows))
    if html:
        Console().print(f"page: {shown(str(html))}", soft_wrap=True)


@app.command()
def verify(
    release: Annotated[Path, typer.Argument(help="a release folder, here or at s3://")],
    against: Annotated[Path | None, typer.Option(help="the run's private/dataset, to look for real images")] = None,
    k: Annotated[
        int | None, typer.Option(min=1, help="people who must share a caption, a label or a word; else as the run says, or 3")
    ] = None,
    signer: Annotated[Path | None, typer.Option(help="SSH public key that must have signed SHA256SUMS")] = None,
) -> None:
    """Prove that a release is clean, or exit with code 3.

    Checks that weights are safetensors with a lineage of public weights and kept candidates only, and, with --against, that no
    real image (by bytes, pixels or re-identification) and no caption, label or word of few people is in it. Whoever gets a
    copy checks that it is whole and whose it is with --signer alone.

    Examples: `pd verify runs/faces/release --against runs/faces/private/dataset`;
    `pd verify faces-release --signer hospital.pub`
    """
    from pd.stages.verify import check_release, checks_table

    release = mirrored_run(release, below=1)
    require_disk("--signer", signer)
    found = check_release(release, against, k, signer)
    Console().print(checks_table(found.checks))
    if not found.ok:
        raise LeakError("the release is not clean", code="not-clean", where=str(release), fix="do not share it")
    if found.skipped:
        more = "" if against else ": most need the real images, add --against RUN/private/dataset"
        Console().print(f"No leak found, but {len(found.skipped)} checks could not be made{more}", soft_wrap=True)
    else:
        Console().print("The release is clean, as far as these checks can tell.")


@app.command()
def push(
    release: Annotated[Path, typer.Argument(help="a release folder")],
    to: Annotated[str, typer.Option(help="owner/name on the Hugging Face hub")],
    kind: Annotated[str, typer.Option(help="of the repository there: model or dataset")] = "dataset",
    against: Annotated[Path | None, typer.Option(help="the run, where the release does not lie in it")] = None,
    k: Annotated[int | None, typer.Option(min=1, help="people who must share a caption; else as the run says, or 3")] = None,
    private: Annotated[bool, typer.Option("--private/--public", help="of a repository that is made")] = True,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
) -> None:
    """Prove that a release is clean, ask, and send it to the hub. One that is not proven is not sent.

    Every check of `pd verify` must pass, none may be left out: the run must be at hand. HF_TOKEN says who sends.

    Example: `pd push runs/faces/release --to owner/faces`
    """
    from pd.stages.push import push_release

    if kind not in ("model", "dataset"):
        raise UserError(f"no repository is a '{kind}'", code="unknown-name", where="--kind", fix="choose model or dataset")
    require_disk("RELEASE", release)
    agree = (lambda text: True) if yes else typer.confirm
    done = push_release(release, to, "model" if kind == "model" else "dataset", against, k, private=private, agree=agree)
    Console().print("not sent" if done is None else f"sent: {shown(done)}", soft_wrap=True)
