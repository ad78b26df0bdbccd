"""Who memorises when, and what the filter buys: leak against usefulness over the steps of teacher and student.

    python benchmarks/population.py --short                     # 100 members of LFW, one seed; about 40 minutes on two cores
    python benchmarks/population.py --data lfw.parquet          # 20, 100 and 700 members, seeds 7, 8, 9; days; goes on
    python benchmarks/population.py --data ar.parquet --members 50
    python benchmarks/population.py --last                      # print the stored figures without running

For each number of members and seed: one teacher, at a constant learning rate, whose averaged weights at `--teacher-steps` are
all attacked; which of them `teacher.stop: generalises` would take; at the steps named by `--students`, its candidates, those
that the filter keeps, students of them and of as many drawn at random, each at `--student-steps` of one training; shadow models
for membership by likelihood ratio. Excess is by the worst attacker that had no vote; intervals are 95 %, over people. Whatever
ended it, the same command resumes.

The data are a Parquet file with `image`, `identity`, and, where there are, `caption` and labels.
"""

import argparse
import hashlib
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from harness import HERE, print_last, store
from population_figures import conclude, draw, table
from rich.console import Console

from pd.audit.figures import measured
from pd.audit.model_attacks import infer_membership
from pd.audit.results import ArmResult
from pd.audit.run import audit
from pd.audit.samples import sample_model
from pd.config import Settings, parse_settings
from pd.dataset.real import real_images
from pd.dataset.synthetic import SyntheticDataset
from pd.diffusion.data import TrainingData
from pd.engine.shadows import shadow_models
from pd.engine.train_student import train_student
from pd.engine.training.generalise import LookedAt, look_at, taken
from pd.engine.training.train import train_model
from pd.filters.captions import captions_of, prompts_of
from pd.pipeline import run_pipeline
from pd.progress import Reporter
from pd.stages.arms import candidates_of
from pd.store.context import Context
from pd.store.run import Run

Json = dict[str, Any]
MOST_PICTURES = 12  # of a person: some have hundreds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--short", action="store_true", help="100 members, one seed, students at the last step")
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data" / "lfw.parquet")
    parser.add_argument("--work", type=Path, default=HERE.parent / "runs" / "population", help="what is finished is kept here")
    parser.add_argument("--members", type=int, nargs="+", default=[20, 100, 700])
    parser.add_argument("--held-out", type=int, default=200, help="people whom no model learns from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--teacher-steps", type=int, nargs="+", default=[300, 600, 1200, 2400, 4800])
    parser.add_argument("--students", type=int, nargs="*", help="teacher's steps whose candidates teach students; default: all")
    parser.add_argument("--student-steps", type=int, nargs="+", default=[300, 900, 2700])
    parser.add_argument("--candidates", type=int, default=6144)
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--shadows", type=int, nargs="+", default=[2, 4, 8, 16], help="numbers of shadow models")
    parser.add_argument(
        "--shadow-steps", type=float, nargs="+", default=[0.25, 1.0], help="their steps, as shares of the teacher's"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("population")
        return
    if arguments.short:
        arguments.members, arguments.seeds, arguments.samples, arguments.candidates = [100], arguments.seeds[:1], 1024, 2048
        arguments.teacher_steps, arguments.student_steps, arguments.shadows = [150, 300, 600, 1200], [300, 900], [2, 4]
        arguments.shadow_steps = [0.25]
        arguments.students = arguments.teacher_steps[-1:]
    began, curves = time.time(), {}
    for members in arguments.members:
        for seed in arguments.seeds:
            curves[f"{members}/{seed}"] = Population(arguments, members, seed).measure()
    figures = {**conclude(curves), "data": arguments.data.stem, "asked": asked(arguments)}
    figures["hours"] = round(sum(one["seconds"] for one in curves.values()) / 3600, 3)
    Console(width=150).print(table(curves))
    draw(curves, HERE.parent / "docs" / "figures" / "population.png")
    store("population", figures)
    print(f"{time.time() - began:.0f} s in this call", file=sys.stderr)


def asked(arguments: argparse.Namespace) -> Json:
    """What was asked for, without folders of this machine."""
    hidden = ("data", "work", "last", "short", "members", "seeds")
    return {key: value for key, value in vars(arguments).items() if key not in hidden}


class Population:
    """One number of members and one seed.

    Args:
        arguments: of the command.
        members: people whom the teacher learns from.
        seed: draws them, and everything else.
    """

    def __init__(self, arguments: argparse.Namespace, members: int, seed: int) -> None:
        self.asked, self.seed = arguments, seed
        self.name = f"{arguments.data.stem}-{members}-{seed}"
        self.people = people(arguments, members, seed)
        self.base = self._settings(self.name)
        self.run, self.reporter = Run(self.base.run_dir), Reporter()
        self.context = Context(self.base, self.run, self.reporter)
        self.clock = self.asked.work / f"{self.name}.seconds"

    def measure(self) -> Json:
        """All curves; what is finished is not done again."""
        self._timed(lambda: run_pipeline(self.base, self.reporter, only=["ingest", "reid", "leaks"]))
        self.real = real_images(self.run, self.base)
        self.prompts = prompts_of(self.real, self.base)
        found: Json = {}
        self._timed(lambda: found.update(teachers=self._teachers()))
        looks = self._looks(found["teachers"])
        rows = []
        for steps, model in found["teachers"].items():
            file = self.asked.work / f"{self.name}-{steps}.json"
            if not file.exists():
                self._timed(lambda steps=steps, model=model, file=file: file.write_text(json.dumps(self._step(steps, model))))
            rows.append({"teacher_steps": steps, "arms": json.loads(file.read_text())})
        return {"rows": rows, **looks, "kept": self._kept(), "seconds": float(self.clock.read_text())}

    def _settings(self, name: str, *more: str) -> Settings:
        model = {"unet": "small", "batch": 64, "precision": "auto", "workers": [1, 2], "samples_every": 0}
        ask = self.asked
        tree = {
            "name": name,
            "seed": self.seed,
            "runs": str(ask.work),
            "data": {"reader": "manifest", "path": str(self.people), "size": 32, "mode": mode_of(ask.data)},
            "reid": {"steps": 900},
            "teacher": model | {"steps": max(ask.teacher_steps), "schedule": "constant"},
            "generate": {"candidates": ask.candidates, "sampler_steps": 6, "guidance": 1.5},
            "student": model | {"steps": max(ask.student_steps), "schedule": "constant"},
            "audit": {"samples": ask.samples, "shadows": max(ask.shadows)},
        }
        return parse_settings(tree, [*ask.set, *more], where="--set")

    def _teachers(self) -> dict[int, Path]:
        """The teacher at each of the steps."""
        members, settings = self.real.members(), self.base
        every = int(np.gcd.reduce(self.asked.teacher_steps))
        model = settings.teacher.model_copy(update={"stop": "private", "checkpoint_every": every})  # a model at each checkpoint
        images, found = TrainingData(members.images, captions_of(members, settings)), list[Path]()
        work, out = self.run.work / "teacher", self.asked.work / f"{self.name}-teacher"
        with self.reporter.task("teacher") as progress:
            train_model(model, settings.data, images, out, work, self.context.seed("teacher"), progress, snapshots=found)
        by_step = {step_of(folder): folder for folder in found}
        return {steps: by_step[steps] for steps in self.asked.teacher_steps}

    def _looks(self, teachers: Mapping[int, Path]) -> Json:
        """What `teacher.stop: generalises` would see, and take, but that nobody judges the first of the steps here."""
        seen, folder = LookedAt.of(self.real, self.base), self.asked.work / f"{self.name}-looks"
        folder.mkdir(exist_ok=True)
        seed, device = self.context.seed("gap"), torch.device("cpu")
        return taken([look_at(model, steps, seen, folder, seed, device) for steps, model in sorted(teachers.items())])

    def _step(self, steps: int, model: Path) -> Json:
        """All arms of one teacher."""
        models = {"teacher": model}
        images: dict[str, SyntheticDataset] = {}
        if steps in (self.asked.teacher_steps if self.asked.students is None else self.asked.students):
            made, kept = self._distilled(steps, model)
            models |= made
            images["kept"] = kept
        for arm, folder in models.items():
            with self.reporter.task(f"{arm} of step {steps}") as progress:
                seed = self.context.seed("samples")
                images[arm] = sample_model(folder, self.prompts, self.base, seed, progress)
        with self.reporter.task(f"audit of step {steps}") as progress:
            voted = self.base.filter.families
            result = audit(self.real, images, None, self.base.audit, self.seed, progress, voted=voted).arms
        found = {arm: figures_of(one) for arm, one in result.items()}
        for share in self.asked.shadow_steps:
            shadows = self._shadows(share)
            for count in self.asked.shadows if steps == max(self.asked.teacher_steps) else self.asked.shadows[-1:]:
                inferred = infer_membership(self.context, self.real, models, shadows=shadows[:count])
                for arm, attacks in inferred.items():
                    loss, ratio = measured(attacks.loss), measured(attacks.likelihood_ratio)
                    found[arm]["loss"] = ends(loss and loss.auc)
                    found[arm].setdefault("likelihood_ratio", {})[f"{count} of {share:g}"] = ends(ratio and ratio.auc)
        return found

    def _distilled(self, steps: int, teacher: Path) -> tuple[dict[str, Path], SyntheticDataset]:
        """Students at their steps, of what the filter keeps and of as many drawn at random; and what is kept."""
        settings = self._settings(f"{self.name}-{steps}", f"teacher.trained={teacher}", "audit.shadows=0")
        run = Run(settings.run_dir)
        if not run.private.exists():
            shutil.copytree(self.run.private, run.private)
        run_pipeline(settings, self.reporter, only=["teacher", "generate", "filter"])
        context = Context(settings, run, self.reporter)
        kept = SyntheticDataset.open(run.kept)
        sets = {"filtered": kept, "random_drop": candidates_of(run, "random_drop", context.seed("random_drop"))}
        every = int(np.gcd.reduce(self.asked.student_steps))
        model = settings.student.model_copy(update={"stop": "private", "checkpoint_every": every})
        models: dict[str, Path] = {}
        for arm, images in sets.items():
            found, out = list[Path](), self.asked.work / f"{self.name}-{steps}-{arm}"
            with self.reporter.task(f"{arm} of step {steps}") as progress:
                seed = context.seed("student")
                work = run.work / arm
                train_student(images, model, settings.data, out, work, seed, progress, snapshots=found)
            by_step = {step_of(folder): folder for folder in found}
            models |= {f"{arm} {own}": by_step[own] for own in self.asked.student_steps}
        return models, kept

    def _shadows(self, share: float) -> list[tuple[Path, set[str]]]:
        """The shadow models of so many steps, all at once: `shadow_models` keeps each until the next is asked for."""
        kept = []
        how = self.base.audit.model_copy(update={"shadow_steps": share})
        context = Context(self.base.model_copy(update={"audit": how}), self.run, self.reporter)
        for number, (model, whom) in enumerate(shadow_models(context, self.real)):
            folder = self.asked.work / f"{self.name}-shadows" / f"{share:g}-{number}"
            if not folder.exists():
                shutil.copytree(model, folder)
            kept.append((folder, whom))
        return kept

    def _kept(self) -> dict[str, float]:
        """Teacher's steps -> the share of its candidates that the filter keeps."""
        found = {}
        for steps in self.asked.teacher_steps:
            counts = Run(self._settings(f"{self.name}-{steps}").run_dir).filter_counts
            if counts.exists():
                told = json.loads(counts.read_text())
                found[str(steps)] = told["kept"] / told["candidates"]
        return found

    def _timed(self, work: Any) -> None:
        """Do it, and add its seconds to those of the calls before."""
        begin = time.time()
        try:
            work()
        finally:
            before = float(self.clock.read_text()) if self.clock.exists() else 0.0
            self.clock.write_text(str(before + time.time() - begin))


def people(arguments: argparse.Namespace, members: int, seed: int) -> Path:
    """A manifest of so many members and as many others as are asked for, drawn by seed."""
    out: Path = arguments.work / f"{arguments.data.stem}-{members}-{seed}.parquet"
    if out.exists():
        return out
    whole = pq.read_table(arguments.data)
    count = Counter(whole["identity"].to_pylist())
    order = sorted(
        (name for name, pictures in count.items() if pictures >= 2),
        key=lambda name: (-min(count[name], 3), hashlib.sha256(f"{seed}:{name}".encode()).hexdigest()),
    )
    held = min(arguments.held_out, len(order) - members)
    if held < 8:
        sys.exit(f"{arguments.data}: {len(order)} people with two pictures; {members} members leave too few others")
    chosen = sorted(order[: members + held], key=lambda name: hashlib.sha256(f"{name}:{seed}".encode()).hexdigest())
    split = dict.fromkeys(chosen[:members], "member") | dict.fromkeys(chosen[members:], "holdout")
    seen: Counter[str] = Counter()
    keep = []
    for name in whole["identity"].to_pylist():
        seen[name] += 1
        keep.append(name in split and seen[name] <= MOST_PICTURES)
    rows = whole.filter(pa.array(keep))
    rows = rows.append_column("split", pa.array([split[name] for name in rows["identity"].to_pylist()]))
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, out)
    return out


def mode_of(data: Path) -> str:
    """Colour where the first picture has it."""
    import io

    from PIL import Image

    first = next(pq.ParquetFile(data).iter_batches(1, columns=["image"])).to_pylist()[0]["image"]["bytes"]
    return "grey" if Image.open(io.BytesIO(first)).mode in ("L", "I;16") else "rgb"


def step_of(folder: Path) -> int:
    return int(folder.name.rpartition("_")[2])


def figures_of(arm: ArmResult) -> Json:
    """What the curves are made of."""
    covered, distance = measured(arm.coverage), arm.fidelity and arm.fidelity.kid
    return {
        "excess": ends(arm.reid and arm.reid.excess),
        "attacker": arm.reid and arm.reid.attacker,
        "copies": ends(arm.extraction and arm.extraction.copies and arm.extraction.copies.excess),
        "best_match": ends(arm.best_match and arm.best_match.averaged and arm.best_match.averaged.auc),
        "utility": ends(arm.utility and arm.utility.auc),
        "kernel_distance": ends(distance),
        "floor": ends(distance and distance.floor),
        "covered": ends(covered and covered.images),
        "people_covered": ends(covered and covered.identities),
    }


def ends(estimate: Any) -> Json | None:
    """Value and interval."""
    return {key: round(float(getattr(estimate, key)), 5) for key in ("value", "low", "high")} if estimate else None


if __name__ == "__main__":
    main()
