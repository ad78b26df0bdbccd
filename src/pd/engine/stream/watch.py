"""Results as they come, and an end when none can come: the nodes that made them are gone, or a worker hangs."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import TypeVar

from pd.engine.waiting import Silence

Result = TypeVar("Result")

LOOK = 5.0  # seconds without a result before anybody asks whether there is a node left
HUNG = 600.0  # seconds without a result that are never too many...
HUNG_TIMES = 10  # ... nor so many times those of the slowest shard...
HUNG_FIRST = 6 * 3600.0  # ... nor these before the first one, when nobody knows how long one takes
PATIENCE = 300.0  # seconds that a cluster has to bring back a node; what waits for it then continues by itself


class Hung(Exception):
    """No result has come for so long that a worker must be hanging: on storage that is gone, a driver, a stopped process."""


class Stranded:
    """Asks now and then whether there is room for what was started, and gives up when there was none for too long.

    Args:
        check: raises what is to be raised when for PATIENCE seconds no node has had room.
    """

    def __init__(self, check: Callable[[], object]) -> None:
        self._check, self._looked = check, time.monotonic()
        self._without = 0.0  # seconds without room, by looks: a process that was stopped for a while has not waited

    def look(self) -> bool:
        """Whether there was no room when last asked; it is asked again when LOOK seconds have passed since."""
        if (now := time.monotonic()) - self._looked >= LOOK:
            self._looked = now
            try:
                self._check()
            except Exception:
                self._without += LOOK
                if self._without >= PATIENCE:
                    raise
            else:
                self._without = 0.0
        return self._without > 0


def silence_allowed(slowest: float) -> float:
    """Seconds that may pass without a result, given those of the slowest shard so far (0: none is finished)."""
    return max(HUNG, HUNG_TIMES * slowest) if slowest else HUNG_FIRST


def watched(results: Iterable[Result], check: Callable[[], None], allowed: Callable[[], float]) -> Iterator[Result]:
    """Yield results as they come.

    Ray Data waits for ever, without a word, when all of its actors wait for a node, or one hangs.

    Args:
        results: waits for each.
        check: raises what is to be raised when for PATIENCE seconds no node has had room for any actor.
        allowed: seconds that may pass without a result.

    Raises:
        Hung: more have passed.
    """
    queue: SimpleQueue[tuple[Result] | BaseException | None] = SimpleQueue()
    over = threading.Event()

    def pump() -> None:
        try:
            for result in results:
                queue.put((result,))
                if over.is_set():
                    return
        except BaseException as error:
            queue.put(error)
        queue.put(None)

    threading.Thread(target=pump, daemon=True).start()
    stranded, heard, silence = Stranded(check), time.monotonic(), Silence("a shard")
    try:
        while True:
            try:
                found = queue.get(timeout=LOOK)
            except Empty:
                if not stranded.look() and time.monotonic() - heard > allowed():
                    raise Hung(f"no result for {time.monotonic() - heard:.0f} s") from None
                silence.look()
                continue
            stranded, heard = Stranded(check), time.monotonic()
            silence.heard()
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            yield found[0]
    finally:
        over.set()
