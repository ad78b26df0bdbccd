"""What a classifier learns from some of the candidates, tested on real images of calibration people."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import Estimate
from pd.audit.utility import Features, Labels, utility
from pd.dataset.parquet_images import Images, rows_of
from pd.dataset.private import PrivateDataset
from pd.reid.efficientnet import middle_features

_BLUR = 1 / 32  # of the side, as in the audit's utility
_AXES = 64  # of the features: the audit has all 1,792, which would take seconds a trial
_MOST = 2048  # candidates that are learned from


@dataclass(frozen=True, eq=False)
class Usefulness:
    """Features of candidates and of real people, on the candidates' principal axes.

    Attributes:
        axes: (1792, k) float32.
        mean: (1792,) float32.
        rows: (n, k) float32, of the first n candidates that attackers look at.
        labels: name -> (n,) float64, what their prompts imply.
        test: (T, k) float32, of real images.
        test_labels: name -> (T,) float64.
        people: who is in these.
        resamples: behind the interval.
        seed: of it.
    """

    axes: Features
    mean: Features
    rows: Features
    labels: Labels
    test: Features
    test_labels: Labels
    people: list[str]
    resamples: int
    seed: int

    @classmethod
    def learn(cls, images: Images, labels: Labels, real: PrivateDataset, *, resamples: int, seed: int) -> Self | None:
        """From (n, H, W, C) uint8 candidates and the calibration people; None where they have no label in common."""
        if not set(labels) & set(real.labels):
            return None
        rows = middle_features(rows_of(images, np.arange(min(_MOST, len(images)))), blur_share=_BLUR)
        mean = rows.mean(axis=0)
        axes = np.linalg.svd(rows - mean, full_matrices=False)[2][:_AXES].T
        return cls(
            axes=axes,
            mean=mean,
            rows=(rows - mean) @ axes,
            labels={name: values[:_MOST] for name, values in labels.items()},
            test=(middle_features(real.images, blur_share=_BLUR) - mean) @ axes,
            test_labels=real.labels,
            people=real.identities,
            resamples=resamples,
            seed=seed,
        )

    def of_chosen(self, chosen: npt.NDArray[np.bool_]) -> Estimate | None:
        """Macro AUC of what is learned from the chosen ones, (n or more,) bool; None where they do not teach a label."""
        rows = chosen[: len(self.rows)]
        return self._of(self.rows[rows], {name: values[rows] for name, values in self.labels.items()})

    def of_images(self, images: Images, labels: Labels) -> Estimate | None:
        """The same of other samples, (N, H, W, C) uint8."""
        rows = middle_features(rows_of(images, np.arange(min(_MOST, len(images)))), blur_share=_BLUR)
        return self._of((rows - self.mean) @ self.axes, {name: values[:_MOST] for name, values in labels.items()})

    def _of(self, rows: npt.NDArray[Any], labels: Labels) -> Estimate | None:
        options: dict[str, Any] = {"steps": 200, "bootstrap": self.resamples, "seed": self.seed}
        return utility(rows.astype(np.float32), labels, self.test, self.test_labels, self.people, **options).auc
