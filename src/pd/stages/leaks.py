"""Leaks: teachers that memorise calibration people on purpose; what the learned spaces leave of their samples. Private.

A filter that is calibrated on altered photographs meets other things when it works: generated likenesses. Here it meets them
beforehand. Calibration people are halved; a teacher learns from one half, the other half is halved again, into those who teach
spaces and judges and those who are strangers; then the reverse. Judges are families that have no vote. Nobody whom the audit
looks at takes part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pd.audit.attack import Attack
from pd.audit.attackers.choose import attacker
from pd.audit.estimate import from_draws
from pd.audit.nearest import Nearest
from pd.audit.reidentification import Comparison, default_alpha, excess
from pd.audit.samples import sample_model
from pd.config import CalibrationSettings, Settings
from pd.dataset.images import Pixels
from pd.dataset.private import PrivateDataset
from pd.dataset.real import real_words, with_labels
from pd.dataset.splits import hash_order
from pd.diffusion.data import TrainingData
from pd.engine.machines import machines_for
from pd.engine.runtime import connect
from pd.engine.training.train import train_model
from pd.filters.leak_quantile import PEOPLE, QUANTILES, Row, as_json
from pd.filters.prompts import choose_prompts, generalise
from pd.filters.space_rows import both_ways
from pd.reid.calibrate import calibrate
from pd.reid.gallery import Gallery
from pd.reid.spaces.space import FEATURES, Space
from pd.seeds import derive
from pd.stages.base import Facts
from pd.stages.leak_steps import steps_of
from pd.store.atomic import write_folder, write_json
from pd.store.context import Context

JUDGES = ("thumbnails", "gradients", "whitened", "imagenet")
SAMPLES = 1024  # of each teacher; ours
FEWEST = 100  # samples kept, below which their excess says nothing; ours


@dataclass(frozen=True)
class Part:
    """One memorising teacher's people.

    Attributes:
        seen: whom it learns from.
        teaching: who teach the spaces and the judges.
        strangers: who set thresholds, and are the control.
    """

    seen: PrivateDataset
    teaching: PrivateDataset
    strangers: PrivateDataset


def parts_of(people: PrivateDataset, seed: int) -> list[Part]:
    """Two parts, in which each half of the people is seen once."""
    order = hash_order(people.identities, seed, "leaks")
    half = len(order) // 2
    found = []
    for seen, others in ((order[:half], order[half:]), (order[half:], order[:half])):
        sides = [seen, others[: len(others) // 2], others[len(others) // 2 :]]
        found.append(Part(*(people.where([who in side for who in people.identities]) for side in map(set, sides))))
    return found


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings
    if why := _why_not(settings, real_words(run, settings)):
        write_json(run.leaks, {"why": why})
        if settings.filter.calibration == "leaks":
            context.reporter.say(f"  {why}")
        return {"calibrated_on": "strangers"}
    people = with_labels(PrivateDataset.open(run.dataset), run, settings).holdout_half("calibration", settings.seed)
    connect(settings.address, run)
    measured = [_measure(context, part, number) for number, part in enumerate(parts_of(people, settings.seed))]
    rows = joined(measured)
    write_json(run.leaks, {"rows": as_json(rows), "people": len(set(people.identities)), "steps": steps_of(settings)})
    return {"calibrated_on": "generated leaks", "unfiltered": rows_unfiltered(measured)}


def _why_not(settings: Settings, real: PrivateDataset) -> str | None:
    if settings.filter.calibration != "leaks" or not set(settings.filter.families) & set(FEATURES):
        return "thresholds come from strangers' quantiles, as filter.calibration says"
    people = len(set(real.holdout_half("calibration", settings.seed).identities))
    if people < PEOPLE:
        return (
            f"{people} calibration people; teachers that memorise some need {PEOPLE}. Thresholds come from strangers' "
            "quantiles instead, and are tested with altered photographs, which says little of generated likenesses"
        )
    return None


@dataclass(frozen=True, eq=False)
class Measured:
    """What is known of one memorising teacher's samples.

    Attributes:
        likeness: space -> (N,) float32, of the samples to whom the teacher saw.
        strangers: space -> (H,) float32, the same of the strangers' pictures.
        who: H names, whose these are.
        judged: judge -> the samples compared with those whom the teacher saw, and with strangers.
        alpha, seed: of the judges' figures.
    """

    likeness: Mapping[str, npt.NDArray[np.float32]]
    strangers: Mapping[str, npt.NDArray[np.float32]]
    who: Sequence[str]
    judged: Mapping[str, Comparison]
    alpha: float
    seed: int

    def passed(self, quantile: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which samples, and which strangers' pictures, all spaces let pass."""
        samples, strangers = (np.ones(len(next(iter(side.values()))), dtype=bool) for side in (self.likeness, self.strangers))
        how = CalibrationSettings(method="stranger_quantile", quantile=quantile)
        for name, scores in self.strangers.items():
            limit = calibrate(how, scores, people=self.who).threshold
            samples &= self.likeness[name] < limit
            strangers &= scores < limit
        return samples, strangers


def _measure(context: Context, part: Part, number: int) -> Measured:
    settings, seed = context.settings, context.seed("leaks", number)
    samples = _samples(context, part.seen, number)
    spaces = [
        Space.learn(kind, part.teaching.images, part.teaching.identities, seed=derive(seed, kind))
        for kind in sorted(settings.filter.families)
        if kind in FEATURES
    ]
    galleries = {space.kind: Gallery(both_ways(space, part.seen.images)) for space in spaces}
    alpha = settings.audit.alpha or default_alpha(part.strangers.identities)
    judged = {}
    for name in JUDGES:
        if name in settings.filter.families:
            continue
        judge = attacker(name)
        steps = settings.audit.attacker_steps
        judge.fit(part.teaching.images, part.teaching.identities, seed=derive(seed, "judge", name), steps=steps)
        attack = Attack.by(judge, part.seen, part.strangers, alpha=alpha, bootstrap=200, seed=seed)
        judged[name] = attack(samples).compared
    return Measured(
        {space.kind: galleries[space.kind].nearest(space.embed(samples))[0] for space in spaces},
        {space.kind: galleries[space.kind].nearest(space.embed(part.strangers.images))[0] for space in spaces},
        part.strangers.identities,
        judged,
        alpha,
        seed,
    )


def _samples(context: Context, seen: PrivateDataset, number: int) -> Pixels:
    """Samples of a teacher that saw these people, and nobody else, too often."""
    run, settings = context.run, context.settings
    k, default = settings.generate.prompt_k, settings.data.generic
    captions = generalise(seen.captions, seen.identities, seen.labels, k, default)
    model = settings.teacher.model_copy(update={"steps": steps_of(settings), "samples_every": 0, "stop": "steps"})
    work = run.work / "leaks"
    folder = work / f"teacher-{number}"
    with (
        write_folder(folder) as aside,
        context.reporter.task(f"memorising teacher {number + 1} of 2") as progress,
        machines_for(settings.cluster, model, progress),
    ):
        images = TrainingData(seen.images, captions)
        train_model(model, settings.data, images, aside, work / "training", context.seed("leaks", number), progress)
    prompts = choose_prompts(captions, seen.identities, seen.labels, k, balanced=False)
    few = settings.model_copy(update={"audit": settings.audit.model_copy(update={"samples": SAMPLES})})
    with context.reporter.task("its samples") as progress:
        return sample_model(folder, prompts, few, context.seed("leaks", "samples", number), progress).images[:]


def joined(measured: Sequence[Measured], quantiles: Sequence[float] = QUANTILES) -> list[Row]:
    """What is kept at each quantile, and what that gives away, averaged over the teachers."""
    rows = []
    for quantile in quantiles:
        passed = [one.passed(quantile) for one in measured]
        kept = float(np.mean([samples.mean() for samples, _ in passed]))
        specificity = float(np.mean([strangers.mean() for _, strangers in passed]))
        if min(int(samples.sum()) for samples, _ in passed) < FEWEST:
            rows.append(Row(quantile, kept, None, None, "", specificity))
            continue
        value, high, judge = _worst(measured, [samples for samples, _ in passed])
        rows.append(Row(quantile, kept, value, high, judge, specificity))
    return rows


def rows_unfiltered(measured: Sequence[Measured]) -> float:
    """Excess of all samples, by the worst judge: how well the teachers memorised."""
    return round(_worst(measured, [np.ones(len(next(iter(one.likeness.values()))), bool) for one in measured])[0], 4)


def _worst(measured: Sequence[Measured], chosen: Sequence[npt.NDArray[np.bool_]]) -> tuple[float, float, str]:
    """Excess of the chosen samples by the worst judge, the highest upper end of all judges, and that judge."""
    found = {}
    for judge in measured[0].judged:
        each = [
            excess(_some(one.judged[judge], rows), alpha=one.alpha, bootstrap=200, seed=one.seed)
            for one, rows in zip(measured, chosen, strict=True)
        ]
        value = float(np.mean([one.excess.value for one in each]))
        # The teachers' people are different ones: their draws are independent, and their chance averages out.
        found[judge] = from_draws(value, np.mean([one.draws for one in each], axis=0), each[0].excess.n)
    worst = max(found, key=lambda judge: found[judge].value)
    return found[worst].value, max(one.high for one in found.values()), worst


def _some(compared: Comparison, rows: npt.NDArray[np.bool_]) -> Comparison:
    """The comparison of some of the samples."""
    near = [Nearest(one.score[rows], one.row[rows]) for one in (compared.to_member, compared.to_holdout)]
    met = replace(compared.met, score=compared.met.score[rows], circle=compared.met.circle[rows])
    return replace(compared, to_member=near[0], to_holdout=near[1], met=met)
