"""Thresholds from strangers: both detectors are measured once on hold-out people, any threshold is then a look-up."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pd.config import CalibrationSettings, FilterSettings
from pd.dataset.images import mirrored
from pd.dataset.mapping import MapRows, array_of, map_here
from pd.dataset.parquet_images import blocks
from pd.dataset.private import PrivateDataset
from pd.dataset.splits import hash_order
from pd.errors import UserError
from pd.filters.decide import Thresholds
from pd.filters.descriptor import describe
from pd.filters.families import ALTERED, among_members, taught_by_others
from pd.filters.gallery import MemberGallery, load_gallery, member_rows
from pd.filters.near_copy import POSES
from pd.filters.scored_rows import ScoredRows, further_of, rows_by_network
from pd.filters.scorer import most_similar
from pd.reid.calibrate import Verification, calibrate, verification
from pd.reid.gallery import Gallery
from pd.reid.pairs import pairs_of
from pd.reid.sharded import ShardedGallery
from pd.store.atomic import write_json

_ARRAYS, _FIGURES = "strangers.safetensors", "verification.json"
_FAMILY = "family/"
_ENOUGH_PEOPLE = 100  # behind the near-copy threshold: so many can promise the default quantile, 0.99


@dataclass(frozen=True, eq=False)
class Measurements:
    """What both detectors say of hold-out people of the calibration half, whom no generator has seen.

    Attributes:
        verification: how well the network tells them apart.
        score: (N,) float32, re-identification of each image against the members: the likeness of strangers.
        people: (N + S,) int64, whose image each is; those of `score` first, then those of members that `near_copy` has too.
        near_copy: (N + S,) float32, the same of the near-copy detector; where hold-out people are few, then also of S images of
            members against the other members. It learned no people, so that to it they are strangers to each other.
        member_score: (M,) float32, re-identification of each member image against the other member images.
        pair_cosines: (P,) float32, the network's cosine of each pair of images.
        pair_same: (P,) bool, whether a pair shows one person.
        further_score: (K - 1, N) float32, `score` by each further one of K networks.
        further_cosines: (K - 1, P) float32, `pair_cosines` of these.
        families: learned space -> (N + S,) float32, likeness to the members of the images of `people`. Calibration people are
            each scored in a space that the other half of them taught.
        pair_count: (K, P) int64, how many pairs each cosine of each network stands for; None: one.
    """

    verification: Verification
    score: npt.NDArray[np.float32]
    people: npt.NDArray[np.int64]
    near_copy: npt.NDArray[np.float32]
    member_score: npt.NDArray[np.float32]
    pair_cosines: npt.NDArray[np.float32]
    pair_same: npt.NDArray[np.bool_]
    further_score: npt.NDArray[np.float32]
    further_cosines: npt.NDArray[np.float32]
    families: Mapping[str, npt.NDArray[np.float32]]
    pair_count: npt.NDArray[np.int64] | None = None


def measure(folder: Path, real: PrivateDataset, seed: int, map_rows: MapRows = map_here) -> Measurements:
    """Measure both detectors.

    Args:
        folder: holds the re-identification networks and the member gallery.
        real: members and hold-out.
        seed: the run's, which halves the hold-out people.
        map_rows: scores the strangers, learns spaces for them and compares there; by default this process.

    Raises:
        UserError: fewer than 4 hold-out identities.
    """
    strangers = real.holdout_half("calibration", seed)
    function = ScoredRows(folder.absolute(), strangers.images)
    scored = map_rows(function, f"strangers-{function.key}")
    rows = rows_by_network(scored)
    (cosines, same, count), *others = (pairs_of(one, strangers.identities) for one in rows)
    counts = [found for found in (count, *(further for _, _, further in others)) if found is not None]
    members = real.members()
    lacking = max(0, _ENOUGH_PEOPLE - len(set(strangers.identities)))
    found = load_gallery(folder)
    own = list(_each_of_some(members, lacking, seed))
    stand_ins = [_near_copy_among_members(found, members, row) for row in own]
    taught = taught_by_others([space.kind for space in found.spaces], strangers, members, seed, map_rows)
    stood = {
        space.kind: list(among_members(space, _whole(gallery), members, own))
        for space, gallery in zip(found.spaces, found.families, strict=True)
    }
    people = [*strangers.identities, *(f"member {k}" for k, some in enumerate(stand_ins) for _ in some)]
    return Measurements(
        verification=verification(rows[0], strangers.identities),
        score=array_of(scored, "score"),
        people=np.unique(people, return_inverse=True)[1],
        near_copy=np.concatenate([array_of(scored, "near_copy"), *stand_ins]),
        member_score=_likest_other(member_rows(folder)),
        pair_cosines=cosines,
        pair_same=same,
        further_score=further_of(scored),
        further_cosines=np.array([further for further, _, _ in others], np.float32).reshape(len(others), len(same)),
        families={kind: np.concatenate([taught[kind], *stood[kind]]) for kind in taught}
        | _altered(found, strangers, members, own),
        pair_count=np.stack(counts) if counts else None,
    )


def _altered(
    found: MemberGallery, strangers: PrivateDataset, members: PrivateDataset, own: list[npt.NDArray[np.bool_]]
) -> dict[str, npt.NDArray[np.float32]]:
    """Likeness as altered copies of strangers to members, and of some members to all others; nothing where nobody asked."""
    if not found.altered:
        return {}
    parts = [found.altered.score(block) for _, block in blocks(strangers.images)]
    for rows in own:
        likeness = found.altered.likeness(members.images[np.flatnonzero(rows)])
        parts.append(likeness[:, ~rows].max(axis=1))
    return {ALTERED: np.concatenate(parts)}


def _each_of_some(members: PrivateDataset, people: int, seed: int) -> Iterator[npt.NDArray[np.bool_]]:
    """Of so many members, drawn by seed, which images are theirs, (M,): strangers to the others where nobody learned them."""
    who = np.asarray(members.identities)
    if not people or len(set(members.identities)) < 2:
        return
    for person in hash_order(members.identities, seed, "near-copy-strangers")[:people]:
        yield who == person


def _near_copy_among_members(
    found: MemberGallery, members: PrivateDataset, own: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Near-copy likeness of each image of one member to the images of all others."""
    others, images = _whole(found.near_copy).where(np.repeat(~own, len(POSES))), members.images[own]
    plain, turned = (found.detector.compare(describe(one)) for one in (images, mirrored(images)))
    return most_similar(others, plain, turned)[0]


def _whole(gallery: Gallery | ShardedGallery) -> Gallery:
    assert isinstance(gallery, Gallery)  # in parts only where a stream has spread it
    return gallery


def _likest_other(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The second best of each (M, d) unit row among all of them: the best is the row itself."""
    scores, _ = Gallery(rows).top_k(rows, min(2, len(rows)))
    return scores[:, -1]


def find_thresholds(measured: Measurements, calibration: CalibrationSettings, filters: FilterSettings) -> Thresholds:
    """The likenesses from which candidates are dropped.

    Re-identification's as `calibration` says; the near-copy detector's and the learned spaces' are always stranger quantiles.

    Raises:
        UserError: a space votes in which strangers were not measured.
    """
    reid, *further = (
        calibrate(calibration, score, cosines, measured.pair_same, measured.people[: len(score)], count).threshold
        for score, cosines, count in zip(
            [measured.score, *measured.further_score],
            [measured.pair_cosines, *measured.further_cosines],
            [None] * (1 + len(measured.further_score)) if measured.pair_count is None else measured.pair_count,
            strict=True,
        )
    )
    strangers = CalibrationSettings(method="stranger_quantile", quantile=filters.near_copy_quantile)
    near_copy = calibrate(strangers, measured.near_copy, people=measured.people).threshold
    passed = CalibrationSettings(method="stranger_quantile", quantile=filters.family_quantile)
    lacking = [name for name in filters.families if name not in measured.families]
    if lacking:
        raise UserError(f"'{lacking[0]}' was not measured", code="not-done", where="filter.families", fix="run `pd reid` again")
    families: dict[str, float] = {
        name: calibrate(strangers if name == ALTERED else passed, measured.families[name], people=measured.people).threshold
        for name in filters.families
    }
    return Thresholds(reid, near_copy, tuple(further), families)


def unkept(measured: Measurements, calibration: CalibrationSettings, filters: FilterSettings) -> list[str]:
    """Lines for people: which stranger quantiles promise more than so few hold-out people can (see `calibrate`)."""
    asked = [("filter.near_copy_quantile", filters.near_copy_quantile, measured.people)]
    if filters.families:
        asked.append(("filter.family_quantile", filters.family_quantile, measured.people))
    if calibration.method == "stranger_quantile":
        asked.insert(0, ("reid.calibration.quantile", calibration.quantile, measured.people[: len(measured.score)]))
    counted = [(key, quantile, len(np.unique(people))) for key, quantile, people in asked]
    return [
        f"{key} = {quantile:g}: {count} people can promise no more than {count / (count + 1):.3f}; "
        "the threshold lies just above all their images"
        for key, quantile, count in counted
        if count / (count + 1) < quantile < 1
    ]


def write_measurements(measured: Measurements, folder: Path) -> None:
    """Write `strangers.safetensors` and `verification.json`."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "score": measured.score,
        "people": measured.people,
        "near_copy": measured.near_copy,
        "member_score": measured.member_score,
        "pair_cosines": measured.pair_cosines,
        "pair_same": measured.pair_same,
        "further_score": measured.further_score,
        "further_cosines": measured.further_cosines,
        **{f"{_FAMILY}{name}": values for name, values in measured.families.items()},
    }
    if measured.pair_count is not None:
        arrays["pair_count"] = measured.pair_count
    # safetensors writes the memory behind a strided array as it lies, that is wrongly.
    save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, folder / _ARRAYS)
    write_json(folder / _FIGURES, asdict(measured.verification))


def read_measurements(folder: Path) -> Measurements:
    """What `write_measurements` wrote. Raises UserError when it is missing or damaged."""
    try:
        arrays = load_file(folder / _ARRAYS)
        figures = json.loads((folder / _FIGURES).read_text(encoding="utf-8"))
        families = {name.removeprefix(_FAMILY): arrays.pop(name) for name in list(arrays) if name.startswith(_FAMILY)}
        return Measurements(Verification(**figures), **arrays, families=families)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise UserError(
            f"no whole measurements of strangers ({type(error).__name__})",
            code="unreadable-file",
            where=str(folder),
            fix="run `pd reid` again",
        ) from None
