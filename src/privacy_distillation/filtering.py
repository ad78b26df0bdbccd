"""The filter, in this process."""

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pd.config import Settings
from pd.dataset.private import PrivateDataset
from pd.engine.recognisers import recognisers
from pd.filters.calibration import find_thresholds
from pd.filters.decide import Thresholds, decide, scores_of
from pd.filters.duplicate import SKETCH, nearly_repeated, repeated
from pd.filters.prepare import prepare
from pd.filters.scorer import Scorer, score_in_blocks
from pd.filters.table import FAMILY, scored_table
from pd.stages.leak_steps import refuse_leaks
from pd.stages.reid import others_of
from privacy_distillation.inputs import as_images, as_people, reporter, settings_of

if TYPE_CHECKING:
    from pandas import DataFrame

_SHOWN = ("id", "prompt", "score", "nearest", "near_copy", "near_copy_nearest")


class Filter:
    """Says of images whether they show a member; `fit_filter` makes it.

    Attributes:
        thresholds: likeness, cosine in [-1, 1], from which an image is dropped.
        verification: how well the network tells hold-out people apart, in words.
    """

    def __init__(
        self, people: PrivateDataset, settings: Settings, folder: Path, verification: str, thresholds: Thresholds
    ) -> None:
        self.thresholds = thresholds
        self.verification = verification
        self._people, self._settings = people, settings
        self._scorer = Scorer(folder, folder)

    def scores(self, images: Any) -> "DataFrame":
        """Score images, and decide on each.

        Args:
            images: what `load_images` gave, or what it takes.

        Returns:
            A data frame with a row an image: `id`, `prompt`, `score` (cosine with the most similar member, by
            re-identification), `nearest` (that member image's id), `near_copy` and `near_copy_nearest` (the same by pixels),
            `family.NAME` (in each further space that votes), `keep`, and `reason` (empty where kept).

        Raises:
            UserError: images that cannot be read.
        """
        found = as_images(images, self._people)
        scored = score_in_blocks(self._scorer, found.images)
        table = scored_table(found.ids, found.images[:], scored, prompts=found.prompts)
        keep, reasons = self._decide(table)
        shown = [name for name in table.column_names if name in _SHOWN or name.startswith((FAMILY, "score_"))]
        frame: DataFrame = table.select(shown).to_pandas()
        return frame.assign(keep=keep, reason=reasons)

    def _decide(self, table: pa.Table) -> tuple[npt.NDArray[np.bool_], list[str]]:
        """As `pd filter` does, whose prompts are nobody's captions."""
        how, any_prompt = self._settings.filter, np.ones(len(table), bool)
        again = repeated(table["pixels_sha"].to_pylist()) & how.duplicate
        if how.near_duplicate is not None:
            rows, _ = decide(scores_of(table, again, any_prompt), how, self.thresholds)
            sketches = np.frombuffer(b"".join(table["sketch"].filter(pa.array(rows)).to_pylist()), np.int8)
            again[rows] |= nearly_repeated([sketches.reshape(-1, SKETCH)], how.near_duplicate)
        return decide(scores_of(table, again, any_prompt), how, self.thresholds)

    def __repr__(self) -> str:
        members = self._people.members()
        return f"Filter({len(set(members.identities))} members, {len(members)} pictures; {self.verification})"


def fit_filter(people: Any, *, settings: Mapping[str, Any] | None = None, seed: int = 0, progress: bool = True) -> Filter:
    """Train the re-identification network on the members, and calibrate the thresholds on hold-out people.

    Args:
        people: what `load_people` gave, or a path.
        settings: keys of `reid` and `filter`, such as `{"reid.steps": 300, "filter.families": []}`; `reid.workers` above 0
            trains on Ray.
        seed: of the training, and of the halves of the hold-out people.
        progress: show it.

    Raises:
        UserError: too few people, an unknown key, a wrong value.
    """
    data = as_people(people)
    chosen = settings_of(settings, seed, "fit_filter", data)
    refuse_leaks(chosen)
    folder = Path(tempfile.mkdtemp(prefix="pd-filter-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    others, _ = others_of(chosen, data)
    networks = recognisers(data.members(), chosen, folder / "training", reporter(progress), others)
    measured = prepare(data, networks, chosen, folder / "reid")
    shutil.rmtree(folder / "training", ignore_errors=True)
    thresholds = find_thresholds(measured, chosen.reid.calibration, chosen.filter)
    return Filter(data, chosen, folder / "reid", measured.verification.words(), thresholds)
