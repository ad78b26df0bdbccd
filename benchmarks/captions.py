"""What free-text reports cost as captions, against prompts made of labels alone.

    python benchmarks/captions.py           # two ways of wording, one teacher each a seed; about twenty minutes on two cores
    python benchmarks/captions.py --last    # print the stored figures without running

Pictures are the embedded faces (glasses, beard, moustache): a small teacher can learn to show what is asked for, so that the
wording can be told from its training. The reports are written by this benchmark, one for each picture, from its labels: in
various words for the same thing, with a date, a physician, a case number and a remark that no other report has. So what a
prompt should show is known. Each way of wording trains a teacher of the same steps and seed:

    labels    the yes-or-no labels, as pd puts them into words
    reports   `data.caption: report`: the phrases of the report that k members share

Without either all pictures have one caption, which implies no label: then there is nothing to measure.

`agreement` is the AUC by which a classifier, trained on real members, finds in the samples the label that their prompt implies;
0.5 where the words do nothing. `utility` is the AUC of a classifier trained on the samples with those labels, on real hold-out
people. Intervals are 95 %: over samples, and over people.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import HERE, print_last, store
from rich.console import Console
from rich.table import Table

from pd.audit.features import Bundled
from pd.audit.samples import sample_model
from pd.audit.utility import utility
from pd.config import Settings, parse_settings
from pd.dataset.readers.faces import LABELS, faces
from pd.dataset.readers.source import Row
from pd.dataset.real import real_images
from pd.diffusion.data import TrainingData
from pd.engine.training.train import train_model
from pd.filters.captions import captions_of, prompts_of
from pd.filters.report_phrases import report_prompts
from pd.pipeline import run_pipeline
from pd.progress import Reporter
from pd.store.context import Context
from pd.store.run import Run

Json = dict[str, Any]
SAID = {
    "glasses": (("Wears glasses", "Spectacles are worn", "With glasses"), ("No glasses", "Without spectacles")),
    "beard": (("Bearded", "A beard is seen", "With a beard"), ("No beard", "Chin is shaved")),
    "moustache": (("Moustache present", "With a moustache"), ("No moustache", "Upper lip is shaved")),
}
SURNAMES = ("Abel", "Brand", "Costa", "Dietz", "Evans", "Fiala", "Gruber", "Hale", "Ibsen", "Jonas", "Keller", "Lund")
WORDS = ("frontal", "subtle", "prior", "rotated", "limited", "stable", "shaded", "margin", "base", "contour", "tip", "line")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--work", type=Path, default=HERE.parent / "runs" / "captions", help="what is finished is kept here")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--steps", type=int, default=450, help="of each teacher")
    parser.add_argument("--samples", type=int, default=1024)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("captions")
        return
    began = time.time()
    figures = {seed: measure(arguments, seed) for seed in arguments.seeds}
    Console(width=150).print(table(figures))
    asked = {"steps": arguments.steps, "samples": arguments.samples, "data": "embedded faces"}
    store("captions", {"seeds": figures, "asked": asked})
    print(f"{time.time() - began:.0f} s in this call", file=sys.stderr)


def measure(arguments: argparse.Namespace, seed: int) -> Json:
    """Both ways of wording, on one division of the people."""
    data = written(arguments)
    found: Json = {}
    for way in ("labels", "reports"):
        file = arguments.work / f"{way}-{seed}.json"
        if not file.exists():
            file.write_text(json.dumps(one(arguments, data, way, seed)))
        found[way] = json.loads(file.read_text())
    return found


def one(arguments: argparse.Namespace, data: Path, way: str, seed: int) -> Json:
    """A teacher of one way of wording, and what its samples show."""
    settings = _settings(arguments, data, way, seed)
    run, reporter = Run(settings.run_dir), Reporter()
    run_pipeline(settings, reporter, only=["ingest"])
    context = Context(settings, run, reporter)
    real = real_images(run, settings)
    members, held = real.members(), real.holdout()
    captions, prompts = captions_of(members, settings), prompts_of(real, settings)
    model = run.work / "captions-teacher"
    with reporter.task(f"{way} {seed}") as progress:
        data_of = TrainingData(members.images, captions)
        train_model(settings.teacher, settings.data, data_of, model, run.work / "teacher", context.seed("teacher"), progress)
    with reporter.task("samples") as progress:
        samples = sample_model(model, prompts, settings, context.seed("samples"), progress)
    encoder = Bundled()
    of_members, of_held, of_samples = (encoder.parts(images) for images in (members.images, held.images, samples.images))
    asked = {name: samples.labels[name] for name in LABELS if name in samples.labels}
    how = {"steps": 500, "bootstrap": 1000, "seed": seed}
    names = [f"s{row}" for row in range(len(samples.ids))]
    truth = {name: members.labels[name] for name in asked}
    agreed = utility(of_members, truth, of_samples, asked, names, **how)
    useful = utility(of_samples, asked, of_held, {name: held.labels[name] for name in asked}, held.identities, **how)
    figures: Json = {
        "agreement": _ends(agreed.auc),
        "agreement_by_label": agreed.labels,
        "utility": _ends(useful.auc),
        "utility_by_label": useful.labels,
        "prompts": len(prompts.texts),
        "samples_with_label": {name: int(np.isfinite(asked[name]).sum()) if name in asked else 0 for name in LABELS},
    }
    if way == "reports":
        said = report_prompts(members.captions, members.identities, settings.generate.prompt_k, settings.data.generic)
        figures |= {"phrases_kept": len(said.kept), "phrases_lost": said.lost}
        real_ones = {name: held.labels[name] for name in LABELS}
        best = utility(of_members, {name: members.labels[name] for name in LABELS}, of_held, real_ones, held.identities, **how)
        figures["utility_of_real_members"] = _ends(best.auc)
    return figures


def written(arguments: argparse.Namespace) -> Path:
    """The faces with labels of 0 and 1, and a report of each."""
    out: Path = arguments.work / "reports.parquet"
    if out.exists():
        return out
    rows = [row for row in faces().rows() if isinstance(row, Row)]
    labels = {name: [int(str(row.labels[name])) for row in rows] for name in LABELS}
    reports = [report(number, {name: values[number] for name, values in labels.items()}) for number in range(len(rows))]
    structs = [{"bytes": Path(row.data).read_bytes(), "path": None} for row in rows if isinstance(row.data, Path)]
    columns = {"image": pa.array(structs), "identity": [row.identity for row in rows], "caption": pa.array(reports)}
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({**columns, **{name: pa.array(values) for name, values in labels.items()}}), out)
    return out


def report(number: int, labels: dict[str, int]) -> str:
    """A report that nobody else has; its words follow from the picture's number."""
    rng = np.random.default_rng(number)

    def said(name: str) -> str:
        ways = SAID[name][0 if labels[name] else 1]
        return ways[rng.integers(len(ways))]

    remark = " ".join(WORDS[word] for word in rng.integers(len(WORDS), size=4))
    return (
        f"EXAMINATION: portrait, {rng.integers(1, 29)}.{rng.integers(1, 13)}.20{rng.integers(10, 25)}\n"
        f"INDICATION: {'routine' if rng.random() < 0.5 else 'follow-up'}, question {WORDS[rng.integers(len(WORDS))]}\n"
        f"FINDINGS: {said('glasses')}. {said('beard')}. {said('moustache')}. Remark {remark} {rng.integers(1000)}.\n"
        f"Read by Dr. {SURNAMES[rng.integers(len(SURNAMES))]}, case {number}."
    )


def table(figures: dict[int, Json]) -> Table:
    found = Table(title="reports as captions")
    for heading in ("seed", "wording", "prompts", "agreement", "utility"):
        found.add_column(heading)
    for seed, ways in figures.items():
        for way, row in ways.items():
            found.add_row(str(seed), way, str(row["prompts"]), _shown(row["agreement"]), _shown(row["utility"]))
    return found


def _settings(arguments: argparse.Namespace, data: Path, way: str, seed: int) -> Settings:
    columns: Json = {"labels": [*LABELS]}
    if way == "reports":
        columns["caption"] = "caption"
    tree = {
        "name": f"{way}-{seed}",
        "seed": seed,
        "runs": str(arguments.work / "runs"),
        "data": {
            "reader": "manifest",
            "path": str(data if way == "reports" else _without(data, "caption")),
            "size": 32,
            "columns": columns,
            "subject": "a photo of a face",
            "caption": "report" if way == "reports" else "a photo of a face",
        },
        "teacher": {
            "unet": "small",
            "autoencoder": "bundled",
            "steps": arguments.steps,
            "batch": 64,
            "flip": True,
            "learning_rate": 0.001,
            "precision": "auto",
            "workers": [1, 2],
            "samples_every": 0,
        },
        "generate": {"sampler_steps": 6, "guidance": 1.5, "prompt_k": 3, "balance_prompts": True},
        "audit": {"samples": arguments.samples},
    }
    return parse_settings(tree, [], where="this benchmark")


def _without(data: Path, column: str) -> Path:
    out = data.with_name(f"{data.stem}-without-{column}.parquet")
    if not out.exists():
        pq.write_table(pq.read_table(data).drop_columns([column]), out)
    return out


def _ends(estimate: Any) -> Json | None:
    return {key: round(float(getattr(estimate, key)), 4) for key in ("value", "low", "high")} if estimate else None


def _shown(ends: Json | None) -> str:
    return f"{ends['value']:.3f} ({ends['low']:.3f} to {ends['high']:.3f})" if ends else "no label is implied"


if __name__ == "__main__":
    main()
