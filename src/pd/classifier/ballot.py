"""Noisy answers of teachers, each given once: kept on disk before anybody sees them, never more than were paid for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save

from pd.classifier.plan import Plan
from pd.classify.inputs import Held
from pd.classify.task import digest_of_array, load_classifier, predict
from pd.dataset.images import Pixels
from pd.dp.noise import NoiseSource
from pd.dp.votes import ConfidentGNMax, GNMax
from pd.errors import UserError
from pd.progress import Progress, silent
from pd.store.atomic import write_bytes

Answers = npt.NDArray[np.int64]
"""(n,) classes; -1: not answered."""


def votes_of(teachers: Sequence[Path], images: Pixels, classes: int, progress: Progress = silent) -> npt.NDArray[np.int64]:
    """(n, classes) counts of what teachers say of images. Private."""
    counts = np.zeros((len(images), classes), np.int64)
    for number, folder in enumerate(teachers):
        said = predict(load_classifier(folder), Held(images)).argmax(axis=1)
        counts[np.arange(len(images)), said] += 1
        progress(number + 1, len(teachers), {})
    return counts


@dataclass(frozen=True)
class Ballot:
    """Teachers that are asked through noise.

    Attributes:
        teachers: their folders.
        plan: how many queries and answers, and the noise; it must be in the ledger before anything is asked.
        threshold: votes that most must reach, where there is a check.
        classes: how many there are.
        source: of the noise.
        folder: of the answers, private.
    """

    teachers: Sequence[Path]
    plan: Plan
    threshold: float
    classes: int
    source: NoiseSource
    folder: Path

    def ask(self, number: int, images: Pixels, most: int, progress: Progress = silent) -> Answers:
        """The noisy answers of a round; of one that was asked before, those that were given then.

        Args:
            number: of the round.
            images: (n, H, W, C) uint8, its queries.
            most: answers at most, where there is a check.
            progress: told of teachers.

        Raises:
            UserError: the round was asked about other pictures, or more is asked than was paid for.
        """
        path, digest = self._file(number), digest_of_array(images)
        if path.exists():
            held = load_file(path)
            if bytes(held["digest"]).decode() != digest:
                raise UserError(
                    "these votes were given on other pictures",
                    code="other-inputs",
                    where=str(path),
                    fix="use the earlier settings, or delete the work folder: what was spent is then lost",
                )
            found: Answers = held["answers"]
            return found
        before = self.spent(besides=number)
        if before[0] + len(images) > self.plan.queries or before[1] + most > self.plan.answers:
            raise UserError(
                f"{before[0] + len(images)} queries and {before[1] + most} answers, of {self.plan.queries} and "
                f"{self.plan.answers} that were paid for",
                code="over-budget",
                where="classifier.queries",
            )
        assert self.plan.sigma is not None
        counts = votes_of(self.teachers, images, self.classes, progress)
        if self.plan.check is None:
            answers = GNMax(self.plan.sigma).answer(counts, self.source, "votes", number, digest)
        else:
            mechanism = ConfidentGNMax(self.threshold, self.plan.check, self.plan.sigma, most)
            answers = mechanism.answer(counts, self.source, "votes", number, digest)
        kept = {
            "answers": answers,
            "digest": np.frombuffer(digest.encode(), np.uint8),
            "paid": np.array([len(images), most], np.int64),
        }
        write_bytes(path, save(kept))
        return answers

    def spent(self, besides: int | None = None) -> tuple[int, int]:
        """Queries and answers that are paid for so far; one round left out, where that is asked for."""
        left_out = None if besides is None else self._file(besides)
        paid = [load_file(path)["paid"] for path in sorted(self.folder.glob("round-*.safetensors")) if path != left_out]
        return sum(int(one[0]) for one in paid), sum(int(one[1]) for one in paid)

    def _file(self, number: int) -> Path:
        return self.folder / f"round-{number:04d}.safetensors"
