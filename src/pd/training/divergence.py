"""When a loss is no longer noisy but lost."""

from collections import deque
from collections.abc import Mapping
from typing import Any

WINDOW = 100  # steps that are looked at together
START = 10  # steps whose mean stands for the untrained model's loss
FACTOR = 3.0
RISING = 5  # steps that tell whether a checkpoint now would be one of a loss that runs away


class LossWatch:
    """The recent losses, and whether they say that the training diverged.

    It has when most of the last 100 losses, so their median, lie above three times the lowest mean there has been: of 100
    steps, or of the first ten. A mean of 100 against a median of 100, because

    * the noise of single steps goes: even with one image a step, whose losses spread over two powers of ten, the median
      of 100 stays below twice the lowest mean;
    * a spike that recovers within 50 steps, however high, does not count: it moves no median, and no lowest mean;
    * a training whose loss stays high from the first steps on is measured against the untrained model.

    It misses a model that forgets everything before it was three times better than one that knows nothing; that is to be
    seen in the curve, and in the samples. It is a function of the losses alone, so that all ranks, which see their mean,
    agree, at whatever step they look, and so that a resumed run decides as an uninterrupted one.

    Args:
        to_zero: the loss of what is learned well goes to zero, where three times the lowest is still nothing (a classifier's);
            then losses must also lie above the mean of the first ten.
    """

    def __init__(self, to_zero: bool = False) -> None:
        self.recent: deque[float] = deque(maxlen=WINDOW)
        self._lowest: float | None = None
        self._start, self._to_zero = 0.0, to_zero

    def add(self, loss: float) -> None:
        """Take in the (finite) loss of the next step."""
        self.recent.append(loss)
        if len(self.recent) == START:
            self._lowest = self.mean
            self._start = self.mean if self._to_zero else 0.0
        elif len(self.recent) == WINDOW and self._lowest is not None:
            self._lowest = min(self._lowest, self.mean)

    @property
    def mean(self) -> float:
        """Of the last 100 steps, or as many as there were."""
        return sum(self.recent) / len(self.recent)

    @property
    def limit(self) -> float:
        """What most losses must stay below."""
        return float("inf") if self._lowest is None else max(FACTOR * self._lowest, self._start)

    @property
    def rising(self) -> bool:
        """Whether most of the last five losses are above the limit: no time for a checkpoint that is to be called good."""
        return self._mostly_above(list(self.recent)[-RISING:])

    @property
    def diverged(self) -> bool:
        """Whether most of the last 100 are."""
        return len(self.recent) == WINDOW and self._mostly_above(list(self.recent))

    def state(self) -> dict[str, Any]:
        """A JSON value for a checkpoint."""
        return {"recent": list(self.recent), "lowest": self._lowest, "start": self._start}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint's."""
        self.recent.clear()
        self.recent.extend(state["recent"])
        self._lowest = state["lowest"]
        self._start = state.get("start", 0.0)

    def _mostly_above(self, losses: list[float]) -> bool:
        limit = self.limit
        return 2 * sum(loss > limit for loss in losses) > len(losses)
