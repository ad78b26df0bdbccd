"""The audit: every attacker on every arm, what the arms disclose and what they are good for."""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pd.audit import copies, disclosure, reid_figures
from pd.audit.attack import Attack, AttackResult
from pd.audit.attackers.base import Attacker
from pd.audit.attackers.choose import ATTACKERS, STRONG, choose_attackers
from pd.audit.attackers.distilled import Distilled
from pd.audit.attackers.strong import choose, planted_like
from pd.audit.closest import closest
from pd.audit.disguises import disguised
from pd.audit.estimate import Estimate, share
from pd.audit.quality import Quality
from pd.audit.results import VERSION, ArmResult, AuditResult, RealReidentified, RealResult, Strong
from pd.audit.subjects import Subjects
from pd.config import AuditSettings
from pd.dataset.mapping import MapRows
from pd.dataset.parquet_images import Images, rows_of
from pd.dataset.people import People
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset
from pd.errors import UserError
from pd.progress import Progress, silent
from pd.seeds import derive

RoundTrip = Callable[[Images], Images]
"""Images through a model's autoencoder and back: what of a person it can carry at all."""

_OTHERS = 500  # strangers' pictures that copies are put into or mixed with; ours
_PLANTED = 60  # pictures of each disguise; ours


def audit(
    real: PrivateDataset,
    arms: Mapping[str, SyntheticDataset],
    round_trip: RoundTrip | None,
    settings: AuditSettings,
    seed: int,
    progress: Progress = silent,
    kept: npt.NDArray[np.bool_] | None = None,
    shown: str | None = None,
    voted: Collection[str] = (),
    public: People | None = None,
    attackers: Sequence[str | Attacker] | None = None,
    map_rows: MapRows | None = None,
) -> AuditResult:
    """Attack and measure each arm.

    The attackers learn from the calibration half of the hold-out people; strangers and control gallery are the other half.

    Args:
        real: the private data set, members and hold-out.
        arms: samples of each arm; the first `settings.samples` of each count.
        round_trip: gives images, (n, H, W, C) uint8, as they are after the way through the autoencoder and back; None: there
            is no autoencoder.
        settings: attackers, alpha, resamples.
        seed: the run's: the same as the filter's, so that both agree which half is whose.
        progress: called after each attack or measure.
        kept: (n,) bool, which of the arm `teacher`'s samples the filter keeps.
        voted: attackers of the families that voted in the filter: they are marked, and none of them is the headline.
        public: other people, free for everybody, from whom attackers that distil learn in place of the calibration people.
        attackers: other ones than `settings.attackers`, by name, or of the caller's own.
        map_rows: embeds large galleries; None: this process.
        shown: an arm whose samples closest to members are to be named, as `closest`: with it the figures are private.

    Returns:
        `arms`, `less_than` and `real`.

    Raises:
        UserError: an unknown attacker, no attacker, an arm of no samples or of another size than the real images, too few
            people.
    """
    subjects = Subjects(real, settings, seed)
    arms = {name: samples.first(settings.samples) for name, samples in arms.items()}
    chosen_attackers = choose_attackers(settings.attackers if attackers is None else attackers)
    _check(subjects.members, arms)
    members, chosen = subjects.members, subjects.chosen
    sets: dict[str, Images] = {f"arm {name}": samples.images for name, samples in arms.items()}
    sets["members"] = rows_of(members.images, chosen)
    if round_trip is not None:
        sets["round trips"] = round_trip(sets["members"])

    count = _Count((len(chosen_attackers) + 1) * (len(sets) + 1) + 3 * len(arms) + 3, progress)
    quality = Quality(subjects, arms.values())  # first, because weights that are not there are refused before minutes are spent
    count.one("features of members")
    like = next(iter(arms.values())).images if STRONG in (settings.attackers if attackers is None else attackers) else None
    attacks, found, strong = _attack(subjects, chosen_attackers, sets, count, public, like, map_rows)
    results: dict[str, ArmResult] = {}
    for name, samples in arms.items():
        by_attacker = found[f"arm {name}"]
        embedding = {key: one for key, one in by_attacker.items() if key != copies.NAME}
        worst = reid_figures.worst(embedding, voted)
        chance = derive(seed, "audit", "power")
        reid = reid_figures.figures_with_power(by_attacker, attacks, alpha=subjects.alpha, seed=chance, voted=voted)
        count.one(f"power on {name}")
        best_match = disclosure.best_matches(subjects, attacks, embedding, voted)
        extraction = disclosure.extraction(subjects, samples, by_attacker[copies.NAME])
        attributes = disclosure.attributes(subjects, samples, attacks[worst], by_attacker[worst])
        nearest = {"closest": closest(subjects, samples, worst, by_attacker[worst])} if name == shown else {}
        count.one(f"extraction and attributes of {name}")
        results[name] = ArmResult(
            n=len(samples),
            reid=reid,
            best_match=best_match,
            extraction=extraction,
            attributes=attributes,
            **nearest,
            **quality.of(samples, kept if name == "teacher" else None),
        )
        count.one(f"quality of {name}")
    member = reid_figures.figures(found["members"], voted)
    beside = {}
    if round_trip is not None:
        kept_by = reid_figures.share_kept(found["round trips"], found["members"])
        again = reid_figures.figures(found["round trips"], voted)
        beside = {"round_trip": RealReidentified(n=len(chosen), **again.given(), share_kept=kept_by)}
    of_real = quality.of_real()
    count.one("quality of real images")
    disguises = planted(subjects, attacks)
    count.one("planted copies")
    return AuditResult(
        schema_version=VERSION,
        arms=results,
        less_than=reid_figures.less_than({name: found[f"arm {name}"] for name in arms}, voted),
        real=RealResult(
            alpha=subjects.alpha,
            strangers=len(subjects.strangers),
            n=subjects.counts(),
            member=RealReidentified(n=len(chosen), **member.given()),
            planted=disguises,
            **({"strong": strong} if strong else {}),
            **({"public": len(public)} if public else {}),
            **beside,
            **of_real,
        ),
    )


def planted(subjects: Subjects, attacks: Mapping[str, Attack]) -> dict[str, Estimate]:
    """Kind of disguise -> share of disguised copies of members' pictures that pass for a member by any attacker."""
    rows = np.sort(
        np.random.default_rng(derive(subjects.seed, "audit", "planted")).permutation(len(subjects.members))[:_PLANTED]
    )
    images, who = subjects.members.images[rows], [subjects.members.identities[row] for row in rows]
    found: dict[str, Estimate] = {}
    for kind, made in disguised(
        images, subjects.strangers.images[:_OTHERS], derive(subjects.seed, "audit", "disguises")
    ).items():
        hits = np.any([attack.passing(made) for attack in attacks.values()], axis=0)
        found[kind] = share(hits, who)
    return found


def _attack(
    subjects: Subjects,
    attackers: Mapping[str, Attacker],
    sets: Mapping[str, Images],
    count: "_Count",
    public: People | None,
    like: Images | None,
    map_rows: MapRows | None,
) -> tuple[dict[str, Attack], dict[str, dict[str, AttackResult]], Strong | None]:
    """The attacks, what each saw of each set of images (set -> attacker -> verdict), and the set that was chosen as strong.

    Args:
        subjects: the audit's people.
        attackers: not fitted.
        sets: images to attack.
        count: of what is done.
        public: from whom attackers that distil learn; None: from the calibration people.
        like: samples as which planted leaks look, on which the strong set is chosen; None: all attackers are used.
        map_rows: embeds large galleries; None: this process.
    """
    attacks: dict[str, Attack] = {}
    found: dict[str, dict[str, AttackResult]] = {key: {} for key in sets}
    resampling = derive(subjects.seed, "audit", "bootstrap")
    for name, attacker in attackers.items():
        seed = derive(subjects.seed, "audit", "attacker", name)
        teach = public if public is not None and isinstance(attacker, Distilled) else subjects.learning
        attacker.fit(teach.images, list(teach.identities), seed=seed, steps=subjects.settings.attacker_steps)
        attacks[name] = Attack.by(
            attacker,
            subjects.members,
            subjects.strangers,
            alpha=subjects.alpha,
            bootstrap=subjects.settings.bootstrap,
            seed=resampling,
            map_rows=map_rows,
        )
        count.one(f"{name} learns")
    strong = None
    if like is not None:
        strong = choose(attacks, planted_like(like, subjects.members.images, derive(subjects.seed, "audit", "strong")))
        asked = {*strong.chosen, *subjects.settings.attackers}
        wanted = {name for name in attacks if name in asked or name not in ATTACKERS}
        for name in [name for name in attacks if name not in wanted]:
            attacks.pop(name)
            for key in sets:
                count.one(f"{name} on {key}: not in the strong set")
    bootstrap = subjects.settings.bootstrap
    attacks[copies.NAME] = copies.copies_attack(subjects.members, subjects.strangers, bootstrap=bootstrap, seed=resampling)
    count.one("galleries of copies")
    for name, attack in attacks.items():
        for key, images in sets.items():
            found[key][name] = attack(images)
            count.one(f"{name} on {key}")
    return attacks, found, strong


class _Count:
    """Counts what is done."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._done, self._total, self._progress = 0, total, progress

    def one(self, what: str) -> None:
        self._done += 1
        self._progress(self._done, self._total, {"now": what})


def _check(members: PrivateDataset, arms: Mapping[str, SyntheticDataset]) -> None:
    if not len(members):
        raise UserError(
            "no member images", code="no-images", where="data", fix="an audit needs the people whom the generator saw"
        )
    shape = members.images.shape[1:]
    for name, samples in arms.items():
        if not len(samples):
            raise UserError(
                f"the arm '{name}' has no samples", code="no-images", where="audit.arms", fix="sample it first, or leave it out"
            )
        if samples.images.shape[1:] != shape:
            raise UserError(
                f"images of {samples.images.shape[1:]} beside real ones of {shape} (height, width, channels)",
                code="mixed-sizes",
                where=f"arm '{name}'",
                fix="bring them to one size and mode",
            )
