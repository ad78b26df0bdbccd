"""What a release is worth to somebody with few labels of his own: a curve over the number of his real labels.

He has real images, of n of which he knows the label, and gets the synthetic images with theirs. Semi-ViT learns from

- `real`: n labelled real images, the others unlabelled: what he has without the release;
- `reverse`: n labelled real images, the synthetic ones unlabelled;
- `both`: n labelled real and all labelled synthetic images, the other real ones unlabelled;
- `synthetic`: labelled synthetic images, his real ones unlabelled: n is 0.

His images are those of the hold-out people from whom attackers learn; he is judged on the other hold-out people. Private.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import Estimate, Floats, from_draws, multiplicities, number
from pd.audit.figures import NotMeasured
from pd.audit.results import FewLabels
from pd.audit.subjects import Subjects
from pd.audit.utility import weighted_auc
from pd.classify.fine_tune import load_vit
from pd.classify.inputs import Held
from pd.classify.semi_vit import SemiVitTask
from pd.classify.task import digest_of_array, predict
from pd.config import SemiVitSettings
from pd.config.training import TrainingSettings
from pd.dataset.parquet_images import Images, rows_of
from pd.dataset.synthetic import SyntheticDataset
from pd.progress import Progress, silent
from pd.seeds import derive
from pd.training.task import Task

SIZES = (8, 16, 32, 64, 128, 256, 512)
ARMS = ("real", "reverse", "both")
_EACH = 2  # labelled images of each class, at least

Fit = Callable[[Task, TrainingSettings, Path, Progress], Path]


@dataclass(frozen=True, eq=False)
class _Set:
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    people: list[str]


def few_labels(
    subjects: Subjects,
    arm: str,
    samples: SyntheticDataset,
    settings: SemiVitSettings,
    work: Path,
    fit: Fit,
    progress: Progress = silent,
) -> FewLabels | NotMeasured:
    """The curve of one label: the yes-or-no label whose rarer value most of the recipient's images have.

    Args:
        subjects: whose pictures play which part; `settings.utility_steps`, `samples` and `bootstrap` count.
        arm: name of the samples.
        samples: of the release.
        settings: of Semi-ViT; `mae_steps` and `held` are not read; a patch that does not divide the side is replaced by the
            next smaller one that does.
        work: folder for the trainings, which resume there.
        fit: who trains.
        progress: called as trainings end.
    """
    label = _label(subjects, samples)
    if label is None:
        return NotMeasured(why="no yes-or-no label has both values in the samples and on both halves of the hold-out people")
    most = subjects.settings.samples
    sides = {"mine": subjects.learning, "test": subjects.strangers}
    seeds = {whose: derive(subjects.seed, "audit", "few labels", whose) for whose in (*sides, "made")}
    mine, test = (_known(side.images, side.labels[label], side.identities, most, seeds[whose]) for whose, side in sides.items())
    made = _known(samples.images, samples.labels[label], [""] * len(samples), most, seeds["made"])
    order = _order(mine, derive(subjects.seed, "audit", "few labels"))
    sizes = [n for n in SIZES if n <= len(order) and min(np.bincount(mine.labels[order[:n]], minlength=2)) >= _EACH]
    if not sizes:
        return NotMeasured(why="the recipient's hold-out people have too few images with the label")
    if min(np.bincount(test.labels, minlength=2)) == 0:
        return NotMeasured(why="the hold-out images that are judged on, audit.samples at most, are of one class")
    settings = _fitting(settings, mine.images.shape[1])
    both = np.concatenate([mine.images, made.images])
    count, none = len(mine.labels), np.full(len(made.labels), -1)
    digest, inputs = digest_of_array(both), Held(both)
    seed = derive(subjects.seed, "audit", "few labels", "training")
    people = number(test.people)
    drawn = multiplicities(int(people.max()) + 1, subjects.settings.bootstrap, np.random.default_rng(seed))[:, people]
    steps, done, total = subjects.settings.utility_steps, 0, len(ARMS) * len(sizes) + 1
    training = TrainingSettings(steps=steps, checkpoint_every=max(1, steps // 2))

    def worth(labels: npt.NDArray[np.int64], unlabelled: npt.NDArray[np.int64]) -> Estimate:
        nonlocal done
        task = SemiVitTask(inputs, labels, 2, settings, steps=steps, seed=seed, digest=digest, unlabelled=unlabelled)
        score = predict(load_vit(fit(task, training, work, silent)), Held(test.images))[:, 1].astype(np.float64)
        done += 1
        progress(done, total, {"now": "few labels"})
        return _auc(score, test.labels > 0, drawn)

    rest = np.arange(count)
    curves: dict[str, list[Estimate]] = {name: [] for name in ARMS}
    for n in sizes:
        known = np.full(count, -1)
        known[order[:n]] = mine.labels[order[:n]]
        others = rest[known < 0].astype(np.int64)
        curves["real"].append(worth(np.concatenate([known, none]), others))
        curves["reverse"].append(worth(np.concatenate([known, none]), count + np.arange(len(none))))
        curves["both"].append(worth(np.concatenate([known, made.labels]), others))
    alone = worth(np.concatenate([np.full(count, -1), made.labels]), rest.astype(np.int64))
    return FewLabels(arm=arm, label=label, sizes=sizes, curves=curves, synthetic=alone, tested=len(test.labels))


def _label(subjects: Subjects, samples: SyntheticDataset) -> str | None:
    """The label whose rarer value is the most frequent; None where there is none to use."""
    best, chosen = 0, None
    sides = (subjects.learning.labels, subjects.strangers.labels, samples.labels)
    for name in sorted(set(sides[0]) & set(sides[1]) & set(sides[2])):
        counts = []
        for labels in sides:
            values = labels[name][np.isfinite(labels[name])]
            if not set(np.unique(values).tolist()) <= {0.0, 1.0}:
                counts = [0]
                break
            counts.append(int(min((values == 0).sum(), (values == 1).sum())))
        if min(counts) >= _EACH and counts[0] > best:
            best, chosen = counts[0], name
    return chosen


def _known(images: Images, labels: Floats, people: Sequence[str], most: int, seed: int) -> _Set:
    """The images whose label is known, so many at most, drawn at random."""
    rows = np.flatnonzero(np.isfinite(labels))
    rows = rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])]
    return _Set(rows_of(images, rows)[:], labels[rows].astype(np.int64), [people[int(row)] for row in rows])


def _order(mine: _Set, seed: int) -> npt.NDArray[np.int64]:
    """In which order the recipient's labels become known: two of each class first, then at random."""
    order = np.random.default_rng(seed).permutation(len(mine.labels))
    first = np.concatenate([[row for row in order if mine.labels[row] == value][:_EACH] for value in (0, 1)])
    rest = [row for row in order if row not in set(first.tolist())]
    return np.array([*first, *rest], np.int64)


def _fitting(settings: SemiVitSettings, side: int) -> SemiVitSettings:
    """With a patch that divides the side."""
    if settings.network.name != "tiny":
        return settings
    asked = settings.network.patched(side).patch
    assert asked is not None
    patch = next(size for size in range(min(asked, side), 0, -1) if side % size == 0)
    return settings.model_copy(update={"network": settings.network.model_copy(update={"patch": patch})})


def _auc(score: Floats, positive: npt.NDArray[np.bool_], drawn: Floats) -> Estimate:
    value = float(weighted_auc(score, positive, np.ones((1, len(score))))[0])
    draws = weighted_auc(score, positive, drawn)
    return from_draws(value, draws if np.isfinite(draws).any() else np.array([value]), len(score))
