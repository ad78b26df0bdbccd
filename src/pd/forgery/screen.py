"""Screening: what is natural is learned from real clips, a head from real and forged ones, and clips get scores with errors.

The people of the real clips are divided: from some the networks learn, of the others come the threshold and the
expected errors, so that neither is told by clips that were learned from. A kind's error is measured with a head that has not
seen the kind: to whoever screens, a new generator is a kind that nobody has seen.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pd.config.screen import ScreenSettings
from pd.dataset.images import Pixels
from pd.dataset.mapping import MapRows, map_here
from pd.dataset.splits import hash_order
from pd.errors import UserError
from pd.forgery.explain import Errors, errors
from pd.forgery.forgeries import KINDS
from pd.forgery.head import Features, Fit, Floats, auc, head_task, scores_of, threshold_at
from pd.forgery.mapped import ClipFeatures, features_in
from pd.forgery.naco import NacoTask, load_naco
from pd.forgery.network import ClipNet
from pd.forgery.windows import Footage
from pd.seeds import derive
from pd.training.digest import training_digest

MIN_PEOPLE = 4  # of the real clips: two to learn from, two to measure by
HELD_SHARE = 0.3  # of the people, to measure by  # ours


@dataclass(frozen=True)
class Expected:
    """What to expect of a kind of forgery that the head has not seen.

    Attributes:
        kind: which was kept out.
        made: it was made from the real clips, rather than given.
        clips: forged clips that it was measured by.
        auc: probability that one of them scores above a kept-out real clip.
        missed: share of them that the threshold does not flag.
        scores: of each, by the head that has not seen the kind.
    """

    kind: str
    made: bool
    clips: int
    auc: float
    missed: float
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Screened:
    """What the screening found.

    Attributes:
        scores: (M,) of the clips that were asked about, NaN where a clip is shorter than a window.
        windows: (M,) how many windows were scored.
        worst: (M,) first frame of the window with the highest score, -1 without one.
        threshold: a score above it is flagged.
        real: (R,) scores of the kept-out real clips.
        expected: of each kind when it is kept out.
        usual: mean error of the spatial prediction on kept-out real clips.
        learned: people and clips that the networks learned from.
        net: the pre-trained network.
        window: its frames.
    """

    scores: Floats
    windows: tuple[int, ...]
    worst: tuple[int, ...]
    threshold: float
    real: Floats
    expected: tuple[Expected, ...]
    usual: float
    learned: tuple[int, int]
    net: ClipNet
    window: int

    def flagged(self, clip: int) -> bool:
        """Whether a clip is to be looked at by a person."""
        return bool(self.scores[clip] > self.threshold)

    def false_alarms(self, score: float) -> float:
        """Share of new real clips that score as high: (1 + those kept out that do) / (1 + all of them)."""
        return float((1 + (self.real >= score).sum()) / (1 + len(self.real)))

    def missed(self, score: float) -> float:
        """Share of forged clips of a kind that nobody has seen that score below, the mean over kinds."""
        return float(np.mean([np.mean(np.array(one.scores) < score) for one in self.expected]))


def screen(
    real: Footage,
    forged: Footage | None,
    kinds: Sequence[str],
    asked: Footage,
    settings: ScreenSettings,
    *,
    fit: Fit,
    seed: int,
    maps: MapRows = map_here,
) -> Screened:
    """Score clips.

    Args:
        real: natural clips, by person.
        forged: clips known to be forged; None: there are none.
        kinds: how each of these was made.
        asked: the clips that are scored.
        settings: how.
        fit: trains, here or by workers.
        seed: everything follows from it.
        maps: looks at clips, here or by workers.

    Raises:
        UserError: too few real clips, or people in them, or none is as long as a window.
    """
    real = long_enough(real, settings.window)
    learn, held = divided(real, seed)
    task = NacoTask(
        learn,
        window=settings.window,
        batch=settings.batch,
        seed=seed,
        width=settings.width,
        dim=settings.dim,
        layers=settings.layers,
        spm=settings.spm,
        tcm=settings.tcm,
        digest=training_digest(settings.training),
    )
    naco = fit(task, settings.training)
    net, window = load_naco(naco)

    def seen(clips: Footage, name: str, kind: str = "") -> Features:
        return features_in(maps(ClipFeatures(clips, naco, settings.windows, kind, seed), f"{name}-{kind or 'as-they-are'}"))

    natural, natural_held = seen(learn, "learn"), seen(held, "held")
    made = {kind: (seen(learn, "learn", kind), seen(held, "held", kind)) for kind in KINDS}
    given = _given(forged, kinds, settings.window, seen)
    learned = {**{kind: part for kind, (part, _) in made.items()}, **given}
    measured = {**{kind: part for kind, (_, part) in made.items()}, **given}
    told = training_digest(settings.head)
    final = fit(head_task([natural], list(learned.values()), derive(seed, "head"), told), settings.head)
    real_scores = scores_of(final, natural_held)[0]
    threshold = threshold_at(real_scores, settings.false_alarms)
    expected = []
    for kind, part in measured.items():
        others = [rows for name, rows in learned.items() if name != kind]
        head = fit(head_task([natural], others, derive(seed, "head", kind), told), settings.head)
        known, scores = scores_of(head, natural_held)[0], scores_of(head, part)[0]
        missed = float(np.mean(scores <= threshold_at(known, settings.false_alarms)))
        expected.append(Expected(kind, kind in made, len(scores), auc(known, scores), missed, tuple(scores.tolist())))
    features = seen(asked, "asked")
    scores, each = scores_of(final, features)
    counts = np.bincount(features.clip, minlength=len(asked))
    return Screened(
        scores=scores,
        windows=tuple(counts.tolist()),
        worst=tuple(_worst(features, each, clip) for clip in range(len(asked))),
        threshold=threshold,
        real=real_scores,
        expected=tuple(expected),
        usual=float(np.mean([errors(net, held.take(clip, 0, window)).mean() for clip in range(len(held))])),
        learned=(len(set(learn.people)), len(learn)),
        net=net,
        window=window,
    )


def worst_window(found: Screened, asked: Footage, clip: int) -> tuple[Pixels, Errors]:
    """The window of a clip with the highest score, (T, S, S, C) uint8, and where its frames are unexpected."""
    pixels = asked.take(clip, found.worst[clip], found.window)
    return pixels, errors(found.net, pixels)


def long_enough(footage: Footage, window: int) -> Footage:
    """The clips that have a window.

    Raises:
        UserError: none has.
    """
    rows = np.flatnonzero(footage.lengths >= window)
    if not len(rows):
        raise UserError(
            f"no real clip has {window} frames",
            code="too-few-images",
            where="screen.window",
            fix="give longer clips, or a smaller window or higher rate",
        )
    return footage.only(rows)


def divided(real: Footage, seed: int) -> tuple[Footage, Footage]:
    """Clips to learn from, and clips of other people to measure by.

    Raises:
        UserError: fewer than four people.
    """
    order = hash_order(real.people, seed, "screen")
    if len(order) < MIN_PEOPLE:
        raise UserError(
            f"real clips of {len(order)} people; at least {MIN_PEOPLE} are needed: two to learn from, two to measure errors by",
            code="too-few-people",
            where="real clips",
            fix="add clips, in a sub-folder for each person",
        )
    count = min(max(2, math.floor(HELD_SHARE * len(order))), len(order) - 2)
    measure = np.array([who in set(order[:count]) for who in real.people])
    return real.only(np.flatnonzero(~measure)), real.only(np.flatnonzero(measure))


def _given(
    forged: Footage | None, kinds: Sequence[str], window: int, seen: Callable[[Footage, str], Features]
) -> Mapping[str, Features]:
    """Features of the given forged clips by kind; a kind that is called as one that is made gets another name."""
    if forged is None:
        return {}
    found = {}
    for number, kind in enumerate(sorted(set(kinds))):
        rows = [row for row, name in enumerate(kinds) if name == kind and forged.lengths[row] >= window]
        if rows:
            found[f"{kind} (given)" if kind in KINDS else kind] = seen(forged.only(rows), f"forged-{number}")
    return found


def _worst(features: Features, each: npt.NDArray[np.float32], clip: int) -> int:
    rows = np.flatnonzero(features.clip == clip)
    return int(features.first[rows[int(np.argmax(each[rows]))]]) if len(rows) else -1
