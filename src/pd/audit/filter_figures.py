"""What the filter catches, whom it takes along and who pays for it."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pd.audit.disguises import disguised
from pd.audit.figures import NotMeasured
from pd.audit.planted import KINDS, VIEWS, in_views, jittered
from pd.audit.results import AtPoint, ByIdentity, Consistency, Cost, FilterResult, NearCopy
from pd.audit.run import RoundTrip
from pd.audit.subgroup_drop_rates import by_identity, by_label
from pd.audit.tripartite import Decisions, at_point, consistency, curves
from pd.audit.tripartite import Scores as Likeness
from pd.config import FilterSettings, Settings
from pd.dataset.images import Pixels
from pd.dataset.parquet_images import Images, rows_of
from pd.dataset.private import PrivateDataset
from pd.filters.decide import Thresholds, margin
from pd.filters.scorer import Scorer, score_in_blocks
from pd.filters.table import FAMILY, LABEL, further_of, read_table
from pd.store.context import Context

_OTHERS = 500  # strangers' pictures that copies are put into or mixed with; ours
_IN_VIEWS = 200  # pictures in each view, at least where there are so many; ours
_DISGUISED = 60  # pictures of each disguise, at least where there are so many; ours


def filter_figures(context: Context, real: PrivateDataset, round_trip: RoundTrip) -> FilterResult:
    """Test the filter with planted leaks and with people whom it has not seen, and read off who pays for it.

    The strangers are the audit half of the hold-out people: the calibration half set the thresholds.

    Args:
        context: of a run whose filter is done.
        real: its people.
        round_trip: the way through the teacher's autoencoder and back.

    Returns:
        The filter's counts, `curves`, `chosen`, `near_copy`, `at_chosen`, `consistency` and `cost`, of which
        `by_identity.worst` names people: it is for the custodian alone.
    """
    run, settings = context.run, context.settings
    counts = json.loads(run.filter_counts.read_text(encoding="utf-8"))
    limits = Thresholds.from_json(counts["thresholds"])
    members, strangers = real.members(), real.holdout_half("audit", settings.seed)
    seed = context.seed("audit", "planted")
    detect = Detectors(Scorer(run.reid, run.reid), limits, settings.filter)
    leaks, people = _plant(detect, members, strangers.images[:_OTHERS], settings, seed, round_trip)
    unknown = detect.images(strangers.images)
    table = pa.concat_tables([_scored(file) for file in sorted(run.candidates.glob("*.parquet"))])
    made = detect.table(table)
    dropped = ~np.asarray(table["keep"].to_numpy(), bool)
    caught = {kind: detect.dropped(found) for kind, found in leaks.items()}
    drawn = {*KINDS, *VIEWS}
    reid, near_copy = (
        curves({kind: found[name] for kind, found in leaks.items() if kind in drawn}, unknown[name], made[name]).rounded()
        for name in ("reid", "near_copy")
    )
    return FilterResult(
        **{key: counts[key] for key in ("candidates", "kept", "threshold", "dropped")},
        curves=reid,
        chosen=limits.reid,
        near_copy=NearCopy(curves=near_copy, chosen=limits.near_copy),
        at_chosen=at_point(caught, people, detect.dropped(unknown), strangers.identities),
        consistency=_consistency(detect, table, made["near_copy"], seed),
        cost=Cost(
            by_label=by_label(dropped, _labels(table)),
            strangers_by_label=by_label(detect.dropped(unknown), strangers.labels, strangers.identities),
            by_identity=_by_identity(dropped, table["nearest"].to_pylist(), real),
        ),
    )


def at_work(real: PrivateDataset, reid: Path, limits: Thresholds, settings: Settings, seed: int) -> AtPoint:
    """How a filter without a run does as it is set, tested as `filter_figures` does but for round trips: there is no teacher.

    Args:
        real: members and hold-out people.
        reid: holds the filter's networks and the members' gallery.
        limits: its thresholds.
        settings: of the filter and of the test.
        seed: of what is planted.

    Returns:
        `sensitivity` by kind of planted leak, and `specificity`.
    """
    strangers, detect = real.holdout_half("audit", settings.seed), Detectors(Scorer(reid, reid), limits, settings.filter)
    leaks, people = _plant(detect, real.members(), strangers.images[:_OTHERS], settings, seed)
    caught = {kind: detect.dropped(found) for kind, found in leaks.items()}
    return at_point(caught, people, detect.dropped(detect.images(strangers.images)), strangers.identities)


def _plant(
    detect: "Detectors",
    members: PrivateDataset,
    strangers: Pixels,
    settings: Settings,
    seed: int,
    round_trip: RoundTrip | None = None,
) -> tuple[dict[str, dict[str, Likeness]], dict[str, list[str]]]:
    """Kind of leak -> what the detectors say of it, and whose image each is.

    As `other_photo` each image of who has several is compared with the gallery but for itself. The networks have learned from
    it, which flatters a little; `benchmarks/planted.py` keeps photos from both.
    """
    most = settings.audit.planted
    rows = np.sort(np.random.default_rng(seed).permutation(len(members))[:most])
    times = max(most // len(rows), 1)
    images, who = rows_of(members.images, rows), [members.identities[row] for row in rows]
    copies = detect.images(jittered(images, times, settings.data.mode, seed))
    found = {"member": detect.images(images), "jittered": copies}
    people = {"member": who, "jittered": [name for name in who for _ in range(times)]}
    if round_trip is not None:
        found["round_trip"], people["round_trip"] = detect.images(round_trip(images)), who
    has = Counter(members.identities)
    others = rows[[has[name] > 1 for name in who]]
    if len(others) and len(has) > 1:
        found["other_photo"] = detect.images(rows_of(members.images, others), others)
        people["other_photo"] = [members.identities[row] for row in others]
    some, few = (slice(None, None, max(len(rows) // most_, 1)) for most_ in (_DISGUISED, _IN_VIEWS))
    for kind, shown in in_views(images[few], seed).items():
        found[kind], people[kind] = detect.images(shown), who[few]
    for kind, disguise in disguised(images[some], strangers, seed).items():
        found[kind], people[kind] = detect.images(disguise), who[some]
    return found, people


class Detectors:
    """The filter's likenesses, `reid`, `near_copy` and by learned space, of images or of rows that are scored already."""

    def __init__(self, scorer: Scorer, limits: Thresholds, settings: FilterSettings) -> None:
        self._scorer, self._limits, self._settings = scorer, limits, settings

    def images(self, images: Images, own: npt.NDArray[np.int64] | None = None) -> dict[str, Likeness]:
        """Of (N, H, W, C) uint8; with `own`, of member images, each compared with all but itself."""
        found = score_in_blocks(self._scorer, images, own)
        families = {name: found.families[name] for name in self._limits.families}
        return {"reid": self._voted(found.score, found.further), "near_copy": found.near_copy, **families}

    def table(self, table: pa.Table) -> dict[str, Likeness]:
        """Of candidates."""
        return {
            "reid": self._voted(table["score"].to_numpy(), self._further(table)),
            "near_copy": table["near_copy"].to_numpy(),
            **self.families(table),
        }

    def families(self, table: pa.Table) -> dict[str, Likeness]:
        """By the learned spaces that vote, of candidates."""
        return {name: table[f"{FAMILY}{name}"].to_numpy() for name in self._limits.families}

    def dropped(self, likeness: Mapping[str, Likeness]) -> Decisions:
        """Whether any detector that is on drops them."""
        by_reid = ~(likeness["reid"] < self._limits.reid) & self._settings.reid
        by_copy = ~(likeness["near_copy"] < self._limits.near_copy) & self._settings.near_copy
        by_family = [~(likeness[name] < limit) for name, limit in self._limits.families.items()]
        return np.asarray(np.logical_or.reduce([by_reid, by_copy, *by_family]), bool)

    def each_network(self, table: pa.Table) -> Decisions:
        """(K, N) what each of K networks alone would drop of the candidates."""
        scores = np.column_stack([table["score"].to_numpy(), self._further(table)])
        return np.asarray(~(scores < np.array([self._limits.reid, *self._limits.further])), bool).T

    def _voted(self, score: Likeness, further: Likeness) -> Likeness:
        """What the networks' vote says, on the first one's scale: dropped from its threshold on."""
        return self._limits.reid + margin(score, further, self._limits, self._settings.vote)

    def _further(self, table: pa.Table) -> Likeness:
        columns = [table[name].to_numpy() for name in further_of(table)]
        return np.column_stack(columns) if columns else np.zeros((len(table), 0), np.float32)


def _consistency(detect: Detectors, table: pa.Table, near_copy: Likeness, seed: int) -> Consistency | NotMeasured:
    """Agreement of filters that have one of the networks each, and all of them everything else; and of the networks."""
    alone = detect.each_network(table)
    if len(alone) < 2:
        why = "one network only; reid.networks=3 trains three of different seeds, and their filters are compared"
        return NotMeasured(why=why)
    nobody = np.full(len(table), -np.inf, np.float32)
    copies = detect.dropped({"reid": nobody, "near_copy": near_copy, **detect.families(table)})
    whole, networks = consistency(alone | copies, seed=seed), consistency(alone, seed=seed)
    if whole is None:
        return NotMeasured(why="one of the networks' filters drops every candidate, or none")
    return Consistency(**whole.given(), **({"networks": networks} if networks else {}))


def _by_identity(dropped: Decisions, nearest: list[str], real: PrivateDataset) -> ByIdentity:
    identity = dict(zip(real.ids, real.identities, strict=True))
    return by_identity(dropped, [identity[image] for image in nearest])


def _scored(file: Path) -> pa.Table:
    import pyarrow.parquet as pq

    return read_table(file, [name for name in pq.read_schema(file).names if name != "image"])


def _labels(table: pa.Table) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    names = [name for name in table.column_names if name.startswith(LABEL)]
    return {name.removeprefix(LABEL): pc.fill_null(table[name], float("nan")).to_numpy() for name in names}
