"""What the custodian's report is made of: plain arrays and mappings, filled from a run folder by the report stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pd.audit.results import AuditResult
from pd.config import Settings
from pd.filters.report_phrases import Said

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Counts:
    """How many people and images went in."""

    member_identities: int
    holdout_identities: int
    member_images: int
    holdout_images: int
    bad_images: int = 0


@dataclass(frozen=True, eq=False)
class Candidates:
    """Every candidate of the teacher and what the filter decided.

    Attributes:
        ids: names of the candidates.
        scores: (N,) float32, likeness to the nearest member image; NaN where none was computed.
        nearest: id of the real image each resembles most.
        keep: (N,) bool.
        reasons: why it was dropped; empty for kept ones.
        images: id -> encoded image; only those that are shown are needed (see `dangerous` and `pd.audit.results.Closest`).
    """

    ids: Sequence[str]
    scores: Scores
    nearest: Sequence[str]
    keep: npt.NDArray[np.bool_]
    reasons: Sequence[str]
    images: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {len(self.ids), len(self.scores), len(self.nearest), len(self.keep), len(self.reasons)}
        if len(lengths) > 1:
            raise ValueError(f"candidate columns of different lengths: {sorted(lengths)}")


@dataclass(frozen=True, eq=False)
class ReportData:
    """All that `render_report` shows.

    Attributes:
        run: the run's name.
        created: when the run's last stage ended, as text.
        counts: people and images.
        settings: the whole settings.
        audit: all figures.
        candidates: the teacher's samples and the filter's decisions.
        threshold: the filter's; a candidate at or above it is dropped.
        real: id -> encoded real image, at least those that `candidates.nearest` names among the shown ones.
        samples: arm -> encoded images, in the order to show.
        stranger_scores: (S,) likeness of hold-out images to the nearest member image.
        member_scores: (M,) likeness of member images to the nearest other image of a member.
        verification: figures of the re-identification network on hold-out people, `auc` and `rank1`; None: unknown.
        stage_seconds: stage -> wall time.
        versions: package -> version.
        lineage: artefact -> digest.
        identity_of: id of a real image -> who is in it.
        sweep: `private/sweep/sweep.json`; None: no sweep was made.
        labels: `private/labels/figures.json` with `people`, annotators, and the galleries
            `gallery`, `unsure` and `confused`; None: the data's own.
        said: what became of free-text reports; None: captions are not such.
    """

    run: str
    created: str
    counts: Counts
    settings: Settings
    audit: AuditResult
    candidates: Candidates
    threshold: float
    real: Mapping[str, bytes]
    samples: Mapping[str, Sequence[bytes]]
    stranger_scores: Scores
    member_scores: Scores
    verification: Mapping[str, float | None] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    lineage: Mapping[str, str] = field(default_factory=dict)
    identity_of: Mapping[str, str] = field(default_factory=dict)
    sweep: Mapping[str, Any] | None = None
    labels: Mapping[str, Any] | None = None
    said: Said | None = None


def dangerous(scores: Scores, keep: npt.NDArray[np.bool_], n: int = 8) -> tuple[list[int], list[int]]:
    """Rows of the n most member-like kept candidates, and of the n most member-like dropped ones; ties by row.

    Args:
        scores: (N,) float32; rows without a finite score are left out.
        keep: (N,) bool.
        n: how many of each.
    """
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
    order = order[np.isfinite(scores[order])]
    kept, dropped = order[keep[order]][:n], order[~keep[order]][:n]
    return [int(i) for i in kept], [int(i) for i in dropped]
