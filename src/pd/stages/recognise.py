"""`pd recognise`: a recogniser for whoever only wants that, and how well it sees, by resolution, occlusion and shift."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from pd.audit.estimate import Estimate, share
from pd.audit.verification import verification
from pd.config import DataSettings, Settings, parse_settings
from pd.config.recognisers import VIEWS, SupconSettings, resolution_of
from pd.dataset.people import People, read_people
from pd.dataset.readers.guess import guess
from pd.engine.fit import fit
from pd.engine.runtime import connect
from pd.errors import UserError
from pd.progress import Reporter
from pd.reid.distil import CLASSES
from pd.reid.embed import embed
from pd.reid.methods.aird import adapted
from pd.reid.network import EmbeddingNetwork, load, save
from pd.reid.onnx_network import write_onnx
from pd.reid.recipe import Pictures, lineage, make
from pd.reid.rows import PixelRows
from pd.reid.spaces.whitening import Rows, unit
from pd.reid.task import training_settings
from pd.reid.views import check_views, seen
from pd.seeds import derive
from pd.stages.public import public_data, refuse_same
from pd.store.atomic import disk_errors, write_folder, write_json
from pd.store.kept import discard

FIGURES = "figures.json"
RESOLUTIONS = ("8x8", "12x12", "16x16")


@dataclass(frozen=True)
class Recognised:
    """What came of it.

    Attributes:
        figures: view -> `auc`, `rank1` and `tpr` (at a false positive rate of 1e-3); with classes `accuracy` alone.
        people: who was learned, and who was looked for.
        onnx: whether the network was written as ONNX, too.
        why: it was not; empty where it was.
    """

    figures: dict[str, dict[str, Estimate]]
    people: tuple[int, int]
    onnx: bool
    why: str = ""


def recognise(
    train: str, test: str, out: Path, overrides: Sequence[str], reporter: Reporter, label: str | None = None, adapt: float = 0.0
) -> Recognised:
    """Train a recogniser on some people and try it on others.

    Args:
        train: a folder with a sub-folder for each person, or a manifest; here or at `s3://`.
        test: the same, of other people; with `label`, of the same classes.
        out: becomes a folder with `model.safetensors`, `config.json`, `lineage.json`, `figures.json` and, where onnx is
            installed, `model.onnx`. A training that was stopped resumes from `.OUT.work`; pictures there go in the end.
        overrides: settings as `key=value`; `data`, `reid`, `public` and `seed` count.
        reporter: reports progress.
        label: a column of classes, in place of people.
        adapt: how far batch norm moves towards each set that is looked at (aird), 0 to 1.

    Raises:
        UserError: people, classes or settings that cannot be used together.
    """
    settings = _settings(train, overrides)
    views = tuple(view for view in (*VIEWS, *RESOLUTIONS) if (resolution_of(view) or 0) < settings.data.size)
    for method in settings.reid.methods:
        if not isinstance(method, SupconSettings):
            check_views(method.views, settings.data.size, f"reid.method.{method.name}.views")
    if len(settings.reid.methods) > 1:
        raise UserError(
            "one recogniser is trained, and several methods are named", code="bad-options", where="reid.method", fix="name one"
        )
    if settings.reid.networks > 1:
        what = f"one recogniser is trained, and reid.networks asks for {settings.reid.networks}"
        raise UserError(what, code="bad-options", where="reid.networks", fix="leave it out; networks vote in a filter")
    if out.exists() and not (out / FIGURES).is_file():
        raise UserError("holds other things than a recogniser", code="other-files", where=str(out), fix="name a new folder")
    if adapt and label is not None:
        raise UserError(
            "--adapt is for people, and --label names classes",
            code="bad-options",
            where="pd recognise",
            fix="leave one of them out",
        )
    ours, theirs = _read(settings, _test_data(settings.data, test, overrides), label, reporter)
    check_people(ours, theirs, settings, label, adapt)
    work = out.absolute().parent / f".{out.name}.work"
    with disk_errors(out):
        folder, others = _trained(ours, settings, work, reporter)
        network = load(folder)
        rank = partial(_by_class, network, folder, ours) if label is not None else partial(_by_people, network, adapt=adapt)
        with reporter.task("views") as progress:
            figures = {}
            for done, view in enumerate(views, 1):
                figures[view] = rank(theirs, view, seed=derive(settings.seed, "recognise", view))
                progress(done, len(views), {"now": view})
        with write_folder(out) as aside:
            save(network, aside)
            if (folder / CLASSES).is_file() and label is not None:
                (aside / CLASSES).write_bytes((folder / CLASSES).read_bytes())
                write_json(aside / "classes.json", sorted(set(ours.identities)))
            why = write_onnx(load(folder), settings.data.size, aside / "model.onnx")
            moved = {"figures_adapted_by": adapt} if adapt else {}
            write_json(aside / "lineage.json", {**lineage(settings.reid, others), **moved})
            write_json(aside / FIGURES, {view: {k: vars(e) for k, e in found.items()} for view, found in figures.items()})
    discard(*work.glob("pixels-*"), must=False)
    return Recognised(figures, (len(set(ours.identities)), len(set(theirs.identities))), not why, why)


def check_people(ours: People, theirs: People, settings: Settings, label: str | None, adapt: float) -> None:
    """Refuse people who cannot be learned, or who would flatter.

    Raises:
        UserError: they are too few, in both sets, of several sources where the set is adapted to, or of unknown classes.
    """
    learned, looked = set(ours.identities), set(theirs.identities)
    what = "people" if label is None else "classes"
    if len(learned) < settings.reid.identities_per_batch:
        raise UserError(
            f"{len(learned)} {what} to learn from, and a batch takes {settings.reid.identities_per_batch}",
            code="too-few-people",
            where="--train",
            fix=f"give more, or --set reid.identities_per_batch={max(len(learned), 2)}",
        )
    if len(looked) < 2:
        raise UserError(f"{len(looked)} {what} to look for", code="too-few-people", where="--test", fix="give two or more")
    if label is None and max(Counter(theirs.identities).values()) < 2:
        raise UserError(
            "there is one picture of each person, and nobody to find again",
            code="too-few-people",
            where="--test",
            fix="give two or more pictures of each person",
        )
    same = len(set(ours.digests) & set(theirs.digests))
    if same:
        raise UserError(
            f"{same} pictures are in both sets", code="shared-images", where="--test", fix="take them out: they would flatter"
        )
    if label is None and (both := len(learned & looked)):
        raise UserError(
            f"{both} people are in both sets", code="shared-people", where="--test", fix="name other people, or rename them"
        )
    if label is not None and (unknown := len(looked - learned)):
        raise UserError(
            f"{unknown} classes of {len(looked)} were not learned", code="bad-labels", where="--test", fix="take them out"
        )
    if adapt and len(set(theirs.beside)) > 1:
        raise UserError(
            f"--adapt takes a set of one source, and the column `source` names {len(set(theirs.beside))}",
            code="bad-options",
            where="--test",
            fix="test each source by itself, or leave --adapt out",
        )


def _settings(train: str, overrides: Sequence[str]) -> Settings:
    data = {"path": train} | ({} if _reader_given(overrides) else guess(train))
    return parse_settings({"data": data, "reid": {"method": "crrcd"}}, overrides, where="pd recognise")


def _reader_given(overrides: Sequence[str]) -> bool:
    return bool({"data.reader", "data.preset"} & {override.partition("=")[0].strip() for override in overrides})


def _test_data(data: DataSettings, test: str, overrides: Sequence[str]) -> DataSettings:
    """How the test pictures are read: as the training ones, but by a guess of their own where nobody says how."""
    if _reader_given(overrides):
        return DataSettings.model_validate({**data.model_dump(), "path": test})
    return DataSettings.model_validate({**data.model_dump(exclude={"reader", "preset"}), "path": test, **guess(test)})


def _read(settings: Settings, other: DataSettings, label: str | None, reporter: Reporter) -> tuple[People, People]:
    with reporter.task("training pictures") as progress:
        ours = read_people(settings.data, label, progress=progress)
    with reporter.task("test pictures") as progress:
        theirs = read_people(other, label, progress=progress)
    for where, people in (("--train", ours), ("--test", theirs)):
        if people.left_out:
            reporter.say(f"  {where}: {people.left_out} rows without a '{label}' are left out")
    return ours, theirs


def _trained(ours: People, settings: Settings, work: Path, reporter: Reporter) -> tuple[Path, str]:
    """The folder of the finished network, and whose pictures an inpainting encoder learned from."""
    how = training_settings(settings.reid)
    if how.max_workers:
        connect(settings.address)
    given, others, whose = _pictures(ours, work), None, "the same people"
    if settings.public is not None:
        public = read_people(public_data(settings))
        refuse_same(public, ours)
        others, whose = _pictures(public, work), "public people"
    with reporter.task("network") as progress:
        folder = make(
            settings.reid.methods[0],
            settings.reid,
            given,
            derive(settings.seed, "reid"),
            lambda task: fit(task, how, work, progress),
            others=others,
        )
    return folder, whose


def _pictures(people: People, work: Path) -> Pictures:
    mark = people.fingerprint()
    return Pictures(PixelRows.write(people.images, work / f"pixels-{mark}"), people.identities, mark)


def _by_people(network: EmbeddingNetwork, theirs: People, view: str, *, seed: int, adapt: float) -> dict[str, Estimate]:
    def rows(images: np.ndarray) -> Rows:
        return embed(adapted(network, images, adapt) if adapt else network, images)

    found = verification(rows, theirs.images, theirs.identities, view, seed=seed)
    return {name: one.estimate for name, one in found.items() if np.isfinite(one.value)}


def _by_class(
    network: EmbeddingNetwork, folder: Path, ours: People, theirs: People, view: str, *, seed: int
) -> dict[str, Estimate]:
    classes = sorted(set(ours.identities))
    if (folder / CLASSES).is_file():
        centres = unit(load_file(folder / CLASSES)["directions"])
    else:  # of supcon, the mean of each class
        learned, who = embed(network, ours.images), np.asarray(ours.identities)
        centres = unit(np.stack([learned[who == name].mean(axis=0) for name in classes]))
    guessed = (embed(network, seen(theirs.images, view, seed)) @ centres.T).argmax(axis=1)
    return {"accuracy": share(np.asarray(classes)[guessed] == np.asarray(theirs.identities))}


def read_figures(folder: Path) -> dict[str, dict[str, Estimate]]:
    """What `recognise` left."""
    held = json.loads((folder / FIGURES).read_text(encoding="utf-8"))
    return {view: {name: Estimate(**one) for name, one in found.items()} for view, found in held.items()}
