"""The table of methods: what each is, where it is written down and where it is set, and what its figures must show.

A method is a file in the room of its job, and a row here. One that trains a network names its smallest training, by which
`tests/test_methods.py` holds it to what all of them must keep.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pd.training.task import Task

if TYPE_CHECKING:
    from pd.config import ClassifierSettings
    from pd.labels.votes import Votes


@dataclass(frozen=True)
class Method:
    """A row.

    Attributes:
        id: as settings name it.
        paper: where it is written down; `ours` where nowhere else.
        room: the module that it is in.
        stage: the step, or the command, that uses it.
        setting: the key that chooses it.
        improves: the figure that must get better by it.
        keeps: the figure that must not get worse.
        tiny: its smallest training, the same at each call; None where nothing is trained by gradient.
    """

    id: str
    paper: str
    room: str
    stage: str
    setting: str
    improves: str
    keeps: str
    tiny: Callable[[], Task] | None = None


def _supcon() -> Task:
    from pd.config import ReidSettings
    from pd.reid.rows import Held
    from pd.reid.task import Recogniser

    settings = ReidSettings(dim=8, identities_per_batch=4, images_per_identity=2)
    return Recogniser(Held(_pictures(12, 16)), [f"p{row // 2}" for row in range(12)], settings, 3, "tiny")


def _distilled(name: str) -> Task:
    from pd.config import ReidSettings
    from pd.config.recognisers import METHODS as WAYS
    from pd.reid.distil import Distilled
    from pd.reid.rows import Held

    settings = ReidSettings(dim=8, identities_per_batch=4, images_per_identity=2, steps=6)
    targets = np.random.default_rng(2).normal(size=(12, 8)).astype(np.float32)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    people = [f"p{row // 2}" for row in range(12)]
    return Distilled(Held(_pictures(12, 16)), people, targets, settings, WAYS[name], 3, "tiny")


def _inpainting() -> Task:
    from pd.reid.methods.g2d import Inpainter
    from pd.reid.rows import Held

    return Inpainter(Held(_pictures(12, 16)), ("half hidden", "masked"), 3, "tiny", 6)


def _classifier() -> Task:
    from pd.classify.inputs import Held
    from pd.classify.task import ClassifierTask

    return ClassifierTask(Held(_features(24)), np.eye(3, dtype=np.float32)[np.arange(24) % 3], seed=3, batch=8, width=8)


def _crowd_layer() -> Task:
    from pd.classify.inputs import Held
    from pd.labels.crowd_layer import CrowdLayerTask

    return CrowdLayerTask(Held(_features(24)), _votes(), seed=3, batch=8, width=8)


def _ccc() -> Task:
    from pd.classify.inputs import Held
    from pd.labels.ccc import CccTask

    return CccTask(Held(_features(24)), _votes(), seed=3, warmup=3, batch=8, width=8, groups=2)


def _reweighted() -> Task:
    from pd.classify.inputs import Held
    from pd.labels.reweight import ReweightedTask

    noisy = np.random.default_rng(2).integers(0, 2, (24, 3)).astype(np.float32)
    noisy[::5] = np.nan
    matrices = np.tile(np.array([[0.9, 0.1], [0.2, 0.8]]), (3, 1, 1))
    return ReweightedTask(Held(_features(24)), noisy, matrices, seed=3, batch=8, width=8)


def _few_labels(method: str) -> Task:
    from pd.classify.fine_tune import FineTuneTask
    from pd.classify.inputs import Held
    from pd.classify.mae import MaeTask
    from pd.classify.semi_vit import SemiVitTask
    from pd.config import SemiVitSettings, VitSettings

    network = VitSettings(patch=4, width=16, depth=1, heads=2)
    settings = SemiVitSettings(network=network, batch=4, ratio=3, supervised=0.3, threshold=0.5, teacher_decay=0.5)
    inputs, labels = Held(_pictures(24, 8)), np.where(np.arange(24) < 8, np.arange(24) % 2, -1)
    if method == "mae":
        return MaeTask(inputs, settings, seed=3)
    if method == "fine_tuning":
        return FineTuneTask(inputs, labels, 2, settings, seed=3)
    return SemiVitTask(inputs, labels, 2, settings, steps=6, seed=3)


def _votes() -> "Votes":
    from pd.labels.votes import Votes

    said = np.tile(np.arange(24) % 3, 4)
    said[::7] = 0
    images, annotators = np.tile(np.arange(24), 4), np.repeat(np.arange(4), 24)
    return Votes(images, annotators, said, [f"i{row}" for row in range(24)], list("abcd"), list("xyz"))


def _condense(method: str) -> Task:
    from pd.condense.make import Classes, tasks_of
    from pd.config import CondenseSettings

    settings = CondenseSettings(labels=("x",), per_class=2, factor=2, batch=4, width=8).model_copy(update={"method": method})
    return tasks_of(Classes(_pictures(12, 8), np.arange(12) % 2, ["a", "b"]), settings, seed=3)[1]


def _dance() -> Task:
    from pd.classify.inputs import Held
    from pd.condense.dance import DanceTask

    return DanceTask(
        Held(_pictures(6, 8)),
        experts=[(5, None)],
        expert_key="",
        classes=2,
        number=1,
        mean=(0.5,),
        deviation=(0.3,),
        count=2,
        batch=4,
        width=8,
    )


def _generated() -> Task:
    from pd.classifier.generated import GeneratorTask

    return GeneratorTask(_of_classifier("generated"), (1, 8, 8), 3, None, 3, "tiny")


def _vae() -> Task:
    from pd.classifier.vae import VaeTask

    return VaeTask(_of_classifier("vae"), (1, 8, 8), None, 3, "tiny")


def _student(method: str) -> Task:
    from pd.classifier.student import StudentTask
    from pd.classify.inputs import Held

    targets = np.eye(3, dtype=np.float32)[np.arange(12) % 3]
    return StudentTask(_of_classifier(method), Held(_pictures(12, 8)), targets, None, None, 3, "tiny")


def _private_sgd() -> Task:
    from pd.classifier.examples import Examples
    from pd.classifier.plan import Plan
    from pd.classifier.private_sgd import PrivateClassifier
    from pd.dp.ledger import Ledger
    from pd.dp.noise import NoiseSource

    held = Examples(_pictures(24, 8), np.arange(24) % 3, np.arange(0, 25, 2), ("a", "b", "c"))
    plan = Plan(12, 2, 0, 0, None, None, 0.5, 0.5, 6, Ledger(), "sound")
    return PrivateClassifier(_of_classifier("dp_sgd"), held, plan, NoiseSource.of_seed(3), 3, "tiny")


def _of_classifier(method: str) -> "ClassifierSettings":
    from pd.config import ClassifierSettings

    return ClassifierSettings.model_validate(
        {"label": "x", "method": method, "width": 8, "batch": 4, "latent": 4, "tangent": 1}
    )


def _naco() -> Task:
    from pd.classify.inputs import Held
    from pd.forgery.naco import NacoTask
    from pd.forgery.windows import Footage

    frames, lengths = Held(_pictures(40, 16)), np.full(4, 10, np.int64)
    footage = Footage(frames, np.arange(0, 40, 10), lengths, ("a", "b", "c", "d"), "tiny")
    return NacoTask(footage, window=6, batch=4, seed=3, width=8, dim=16, layers=1)


def _pictures(images: int, side: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.random.default_rng(1).integers(0, 256, (images, side, side, 1), dtype=np.uint8)


def _features(rows: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.random.default_rng(1).normal(size=(rows, 6)).astype(np.float32)


METHODS: tuple[Method, ...] = (
    Method("supcon", "arXiv 2004.11362", "reid/task.py", "reid", "reid", "holdout AUC", "strangers dropped", _supcon),
    Method(
        "crrcd",
        "arXiv 2409.02555",
        "reid/methods/crrcd.py",
        "reid, audit, pd recognise",
        "reid.method",
        "AUC at low resolution",
        "AUC of clear pictures",
        lambda: _distilled("crrcd"),
    ),
    Method(
        "aird",
        "arXiv 2409.02049",
        "reid/methods/aird.py",
        "reid, audit, pd recognise",
        "reid.method",
        "AUC under shift",
        "AUC of clear pictures",
        lambda: _distilled("aird"),
    ),
    Method(
        "g2d",
        "arXiv 2405.16761",
        "reid/methods/g2d.py",
        "reid, audit, pd recognise",
        "reid.method",
        "AUC of hidden pictures",
        "AUC of clear pictures",
        lambda: _distilled("g2d"),
    ),
    Method(
        "inpainting", "arXiv 2405.16761", "reid/methods/g2d.py", "reid", "reid.method", "error where hidden", "-", _inpainting
    ),
    Method(
        "denoising",
        "arXiv 2112.10752, 2303.09556",
        "diffusion/objective.py",
        "teacher, student",
        "teacher",
        "kernel distance",
        "excess",
    ),
    Method("reid", "arXiv 2306.01322", "filters/decide.py", "filter", "filter.reid", "excess", "kept"),
    Method("near_copy", "ours", "filters/near_copy.py", "filter", "filter.near_copy", "copies", "kept"),
    Method("families", "ours", "filters/families.py", "filter", "filter.families", "excess", "kept"),
    Method("duplicate", "ours", "filters/duplicate.py", "filter", "filter.duplicate", "extracted", "kept"),
    Method("prompt", "ours", "filters/prompts.py", "generate", "generate.prompt_k", "rare captions released", "utility AUC"),
    Method("excess", "ours", "audit/reidentification.py", "audit", "audit.attackers", "leak found", "false alarm rate"),
    Method("extraction", "arXiv 2301.13188", "audit/extraction.py", "audit", "audit", "leak found", "false alarm rate"),
    Method("loss", "arXiv 2302.01316", "audit/membership.py", "audit", "audit", "membership AUC", "false alarm rate"),
    Method("lira", "arXiv 2112.03570", "audit/membership.py", "audit", "audit.shadows", "membership AUC", "false alarm rate"),
    Method("attributes", "ours", "audit/attributes.py", "audit", "audit", "leak found", "false alarm rate"),
    Method("classifier", "ours", "classify/task.py", "labels", "labels.method", "accuracy", "training time", _classifier),
    Method("majority", "shares of votes", "labels/majority.py", "labels", "labels.method", "accuracy", "coverage"),
    Method("dawid_skene", "Dawid & Skene 1979", "labels/dawid_skene.py", "labels", "labels.method", "accuracy", "coverage"),
    Method(
        "crowd_layer",
        "arXiv 1709.01779",
        "labels/crowd_layer.py",
        "labels",
        "labels.method",
        "accuracy",
        "training time",
        _crowd_layer,
    ),
    Method("ccc", "arXiv 2312.07331", "labels/ccc.py", "labels", "labels.method", "accuracy", "training time", _ccc),
    Method("transition", "arXiv 2309.12706", "labels/transition.py", "labels", "labels.method", "error of T", "coverage"),
    Method("reweighting", "arXiv 1411.7718", "labels/reweight.py", "labels", "labels.method", "F1", "coverage", _reweighted),
    Method("naco", "arXiv 2407.10550", "forgery/naco.py", "screen", "screen", "AUC on a kept-out kind", "false alarms", _naco),
    Method(
        "semi_vit",
        "arXiv 2208.05688",
        "classify/semi_vit.py",
        "labels",
        "labels.method",
        "accuracy",
        "training time",
        lambda: _few_labels("semi_vit"),
    ),
    Method(
        "fine_tuning",
        "arXiv 2010.11929",
        "classify/fine_tune.py",
        "labels",
        "labels.semi_vit",
        "accuracy",
        "training time",
        lambda: _few_labels("fine_tuning"),
    ),
    Method(
        "mae",
        "arXiv 2111.06377",
        "classify/mae.py",
        "labels",
        "labels.semi_vit.mae_steps",
        "accuracy",
        "training time",
        lambda: _few_labels("mae"),
    ),
    Method(
        "dm",
        "arXiv 2110.04181",
        "condense/dm.py",
        "condense",
        "condense.method",
        "accuracy",
        "excess",
        lambda: _condense("dm"),
    ),
    Method(
        "m3d",
        "arXiv 2312.15927",
        "condense/m3d.py",
        "condense",
        "condense.method",
        "accuracy",
        "excess",
        lambda: _condense("m3d"),
    ),
    Method("dance", "arXiv 2406.01063", "condense/dance.py", "condense", "condense.method", "accuracy", "excess", _dance),
    Method("pate", "arXiv 1802.08908", "classifier/pate.py", "classifier", "classifier.method", "accuracy", "epsilon"),
    Method(
        "generated",
        "arXiv 2409.02404, 1904.01186",
        "classifier/generated.py",
        "classifier",
        "classifier.method",
        "accuracy",
        "epsilon",
        _generated,
    ),
    Method("vae", "arXiv 2409.02404", "classifier/vae.py", "classifier", "classifier.method", "accuracy", "epsilon", _vae),
    Method(
        "vae_student",
        "arXiv 2409.02404",
        "classifier/student.py",
        "classifier",
        "classifier.method",
        "accuracy",
        "epsilon",
        lambda: _student("vae"),
    ),
    Method(
        "tangent_normal",
        "arXiv 2409.02404, 1808.06088",
        "classifier/tangent_normal.py",
        "classifier",
        "classifier.method",
        "accuracy",
        "epsilon",
        lambda: _student("tangent_normal"),
    ),
    Method(
        "private_sgd",
        "arXiv 1607.00133",
        "classifier/private_sgd.py",
        "classifier",
        "classifier.method",
        "accuracy",
        "epsilon",
        _private_sgd,
    ),
)
