"""Membership inference on the arms' models."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import CONFIDENCE
from pd.audit.membership import Variant, likelihood_ratio, loss_scores, membership
from pd.audit.results import LikelihoodRatio, Membership, ModelAttacks
from pd.config import Settings
from pd.dataset.mapping import MapRows, array_of, map_here
from pd.dataset.private import PrivateDataset
from pd.diffusion.mapped import Losses
from pd.filters.captions import captions_of
from pd.progress import Progress
from pd.store.context import Context


def infer_membership(
    context: Context,
    real: PrivateDataset,
    models: Mapping[str, Path],
    map_rows: MapRows = map_here,
    shadows: Iterable[tuple[Path, set[str]]] = (),
) -> dict[str, ModelAttacks]:
    """Attack each arm's model with its own loss, and with shadow models where there are any.

    Args:
        context: settings, run, seeds.
        real: the private data set; at most `audit.samples` images of members, and of hold-out people, are looked at.
        models: arm -> diffusers folder.
        map_rows: measures losses; by default this process.
        shadows: models, each there until the next is asked for, and whom they learned from.

    Returns:
        arm -> what was found, with shadows by their likelihood ratio, too.
    """
    settings = context.settings
    # Calibration people are no control of a checkpoint that was chosen because it does not tell members from them.
    chosen = settings.teacher.stop == "generalises" or "early" in settings.audit.arms
    unseen = set(real.holdout_half("audit", settings.seed).ids) if chosen else None
    looked_at = _draw(real, settings.audit.samples, context.seed("audit", "membership"), unseen)
    texts = known_captions(real, settings)
    captions = [texts[image] for image in looked_at.ids]
    inside = np.array([split == "member" for split in looked_at.splits])
    names = np.array(looked_at.identities)

    def scores_of(model: Path, progress: Progress) -> npt.NDArray[np.float64]:
        noise = context.seed("audit", "membership", "noise")
        losses = Losses(model.absolute(), looked_at.images, looked_at.ids, captions, noise)
        return loss_scores(array_of(map_rows(losses, f"losses-{losses.key}", progress), "loss"))

    def attack(scores: npt.NDArray[np.float64], confidence: float) -> Membership:
        return membership(
            scores[inside],
            scores[~inside],
            list(names[inside]),
            list(names[~inside]),
            bootstrap=settings.audit.bootstrap,
            seed=context.seed("audit", "membership", "bootstrap"),
            confidence=confidence,
        )

    scores = {}
    for arm, model in models.items():
        with context.reporter.task(f"{arm} losses") as progress:
            scores[arm] = scores_of(model, progress)
    losses, learned = [], []
    for model, people in shadows:
        with context.reporter.task("shadow losses") as progress:
            losses.append(-scores_of(model, progress))
        learned.append(np.isin(names, sorted(people)))
    # Of two attacks the surer is told, so that each has half of what an interval may miss.
    confidence = 1 - (1 - CONFIDENCE) / (2 if losses else 1)
    found = {arm: ModelAttacks(loss=attack(scores[arm], confidence)) for arm in models}
    if losses:
        for arm in models:
            # A student learned from no real image: what shadows do with images that they learned tells nothing of it.
            variant: Variant = "online" if arm == "teacher" else "offline"
            ratio = likelihood_ratio(-scores[arm], np.array(losses), np.array(learned), variant)
            by_ratio = LikelihoodRatio(**attack(ratio, confidence).given(), shadows=len(losses), variant=variant)
            found[arm] = found[arm].model_copy(update={"likelihood_ratio": by_ratio})
    return found


def known_captions(real: PrivateDataset, settings: Settings) -> dict[str, str]:
    """Image id -> what it shows, in words that the models know.

    The image's own caption, as who holds the image has it too, and as it gave the attack more than none (AUC 0.90 against
    0.88 on a teacher of the faces). Hold-out people's captions are made general by the members' rule; one that no model
    has seen would raise the loss by itself, and becomes the generic one.
    """
    members, holdout = real.members(), real.holdout()
    texts = dict(zip(members.ids, captions_of(members, settings), strict=True))
    known = set(texts.values())
    for image, caption in zip(holdout.ids, captions_of(holdout, settings), strict=True):
        texts[image] = caption if caption in known else settings.data.generic
    return texts


def _draw(real: PrivateDataset, most: int, seed: int, unseen: set[str] | None) -> PrivateDataset:
    """At most so many images of members, and of hold-out people; of these only `unseen` ids, where they are given."""
    chosen = np.zeros(len(real), dtype=bool)
    draw = np.random.default_rng(seed)
    for split in ("member", "holdout"):
        named = zip(real.splits, real.ids, strict=True)
        fit = [there == split and (split == "member" or unseen is None or name in unseen) for there, name in named]
        rows = np.flatnonzero(fit)
        chosen[draw.permutation(rows)[:most]] = True
    return real.where(chosen)
