"""What samples are good for: utility, fidelity, coverage and adherence of image sets, beside the same real images."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from pd.audit.adherence import adherence
from pd.audit.clip import Clip
from pd.audit.coverage import coverage
from pd.audit.estimate import Estimate
from pd.audit.features import encoder
from pd.audit.fidelity import fidelity
from pd.audit.figures import NotMeasured
from pd.audit.results import Adherence, Coverage, Distance, Fidelity, Utility
from pd.audit.subjects import Subjects
from pd.audit.utility import Features, Labels, shared_by, utility
from pd.dataset.parquet_images import Images, rows_of
from pd.dataset.synthetic import SyntheticDataset
from pd.seeds import derive

_LEAST_FOR_FIDELITY = 4


class Useful(TypedDict):
    """What a set of images is good for: fields of `ArmResult`."""

    utility: Utility
    fidelity: Fidelity | None
    coverage: Coverage | NotMeasured
    adherence: NotRequired[Adherence]


class Quality:
    """Measures image sets against the same people, whose features are made once.

    Args:
        subjects: the people.
        arms: the sets, so that mean utilities are over the labels that all of them can teach.
    """

    def __init__(self, subjects: Subjects, arms: Iterable[SyntheticDataset] = ()) -> None:
        of_members = {name: values[subjects.chosen] for name, values in subjects.members.labels.items()}
        self._among = shared_by([of_members, *(samples.labels for samples in arms)])
        self._subjects, self._settings = subjects, subjects.settings
        self._clip = Clip(self._settings.adherence, "audit.adherence") if self._settings.adherence else None
        self._encoder = encoder(self._settings.features)
        self._holdout: Features | None = None
        self._others: Features | None = None
        self._floors: dict[int, Fidelity | None] = {}
        chosen = subjects.chosen
        images = rows_of(subjects.members.images, chosen)
        self._reference, self._low_passed = self._encoder.whole(images), self._encoder.low_passed(images)
        self._people = [subjects.members.identities[row] for row in chosen]

    def of(self, samples: SyntheticDataset, kept: npt.NDArray[np.bool_] | None = None) -> Useful:
        """Figures of an arm.

        Args:
            samples: of the arm.
            kept: (n,) bool, which of its first n samples the filter keeps; None: nobody filtered them.
        """
        images = samples.images
        low_passed = self._encoder.low_passed(images)
        covered = self._coverage(low_passed)
        if kept is not None and isinstance(covered, Coverage):
            covered = covered.model_copy(update={"kept": self._coverage(low_passed[: len(kept)][kept[: len(images)]])})
        found: Useful = {
            "utility": self._utility(images, samples.labels),
            "fidelity": self._beside_floor(self._encoder.whole(images)),
            "coverage": covered,
        }
        if self._clip and any(samples.prompts):
            found["adherence"] = self._adherence(self._clip, images, samples.prompts)
        return found

    def of_real(self) -> Useful:
        """The scale of the arms' figures: what members' images teach, and how other people's real ones resemble them."""
        members, chosen, others = self._subjects.members, self._subjects.chosen, self._subjects.others.images
        labels = {name: values[chosen] for name, values in members.labels.items()}
        return {
            "utility": self._utility(rows_of(members.images, chosen), labels),
            "fidelity": self._floor(len(others)),
            "coverage": self._coverage(self._encoder.low_passed(others)),
        }

    def _utility(self, images: Images, labels: Labels) -> Utility:
        """What a classifier that learns from these images is worth on real hold-out people."""
        holdout = self._subjects.real.holdout()
        if not set(labels) & set(holdout.labels):
            why = "the samples have no labels" if not labels else "no label is both the samples' and the real images'"
            return Utility(auc=None, why=why, labels={}, skipped={})
        if self._holdout is None:
            self._holdout = self._encoder.parts(holdout.images)
        return utility(
            self._encoder.parts(images),
            labels,
            self._holdout,
            holdout.labels,
            holdout.identities,
            steps=self._settings.utility_steps,
            bootstrap=self._settings.bootstrap,
            seed=self._seed("utility"),
            among=self._among,
        )

    def _beside_floor(self, features: Features) -> Fidelity | None:
        """Distances to the members' images, and what as many of other people's real ones have."""
        found, floor = self._fidelity(features), self._floor(len(features))
        if found is None or floor is None:
            return found
        pairs = {key: (getattr(found, key), getattr(floor, key)) for key in ("fid", "kid")}
        return Fidelity(**{key: own.model_copy(update={"floor": _estimate(real)}) for key, (own, real) in pairs.items()})

    def _floor(self, most: int) -> Fidelity | None:
        """Distances of so many real images of other people, or of all there are."""
        others = self._subjects.others
        n = min(most, len(others))
        if n not in self._floors:
            if self._others is None:
                self._others = self._encoder.whole(others.images)
            # Drawn by picture: the first n would be those of few people, who differ from the members by more.
            drawn = np.random.default_rng(self._seed("floor")).permutation(len(others))[:n]
            self._floors[n] = self._fidelity(self._others[drawn], [others.identities[row] for row in drawn])
        return self._floors[n]

    def _fidelity(self, features: Features, people: list[str] | None = None) -> Fidelity | None:
        if min(len(self._reference), len(features)) < _LEAST_FOR_FIDELITY:
            return None
        measured = fidelity(self._reference, features, seed=self._seed("kid"), real_people=self._people, people=people)
        about: dict[str, Any] = {
            "features": self._encoder.name,
            "reference": "real member images",
            "n_real": len(self._reference),
        }
        kid = {**asdict(measured.kid), "n": len(features), "subset": measured.subset}
        return Fidelity(
            fid=Distance(name=f"Fréchet distance, {self._encoder.name}", **asdict(measured.fid), **about),
            kid=Distance(name=f"kernel distance, {self._encoder.name}", **kid, **about),
        )

    def _coverage(self, features: Features) -> Coverage | NotMeasured:
        found = coverage(self._low_passed, self._people, features, seed=self._seed("coverage"))
        if found is None:
            return NotMeasured(why="too few images to make a manifold")
        return found.model_copy(update={"features": self._encoder.low_passed_name})

    def _adherence(self, clip: Clip, images: Images, prompts: list[str]) -> Adherence:
        texts, asked = np.unique(np.asarray(prompts, dtype=object).astype(str), return_inverse=True)
        return adherence(
            clip.images(images),
            clip.texts(texts.tolist()),
            asked.reshape(-1).astype(np.int64),
            bootstrap=self._settings.bootstrap,
            seed=self._seed("adherence"),
        ).model_copy(update={"model": clip.name})

    def _seed(self, what: str) -> int:
        return derive(self._subjects.seed, "audit", what)


def _estimate(distance: Distance) -> Estimate:
    """A distance as a plain estimate."""
    return Estimate(distance.value, distance.low, distance.high, distance.n)
