"""Results as they come, and an end when none can come because the nodes that made them are gone."""

import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import TypeVar

Result = TypeVar("Result")

LOOK = 5.0  # seconds without a result before anybody asks whether there is a node left
PATIENCE = 300.0  # seconds that a cluster has to bring back a node; the actor that waits for it then goes on by itself


def watched(results: Iterable[Result], check: Callable[[], None]) -> Iterator[Result]:
    """Yield results as they come.

    Ray Data waits for ever, without a word, when all of its actors wait for a node.

    Args:
        results: waits for each.
        check: raises what is to be raised when for PATIENCE seconds no node has had room for any actor.
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
    stranded = 0.0
    try:
        while True:
            try:
                found = queue.get(timeout=LOOK)
            except Empty:
                stranded = _stranded(check, stranded)
                continue
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            stranded = 0.0
            yield found[0]
    finally:
        over.set()


def _stranded(check: Callable[[], None], before: float) -> float:
    """Seconds since there was last room for an actor."""
    try:
        check()
    except Exception:
        if before + LOOK >= PATIENCE:
            raise
        return before + LOOK
    return 0.0
