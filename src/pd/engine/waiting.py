"""No hang without a word: who waits for the cluster says what for, and ends when no machine has answered for too long."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from pd.errors import UserError
from pd.events import event
from pd.progress import notice

FIRST_S = 60.0  # ours: of silence that needs no word, whatever the step's speed
TIMES = 5.0  # ours: ... nor so many times the longest silence before
LOOK_S = 5.0  # between two looks
ASK_S = 20.0  # for a machine to answer when it is asked for nothing else
DRIVER = (
    "the machines cannot reach this process at {address} (a firewall, a loopback address, a certificate without this address)"
)
_BOUND = [30 * 60.0]


class GaveUpError(UserError):
    """The cluster has not answered for as long as `cluster.silence_minutes` allows. What is finished is kept."""

    exit_code = 1


def give_up_after(minutes: float) -> None:
    """How long this process waits for a cluster that does not answer, from now on."""
    _BOUND[0] = 60 * minutes


class Silence:
    """Watches a step that waits for the cluster.

    Args:
        what: is waited for, as `a shard`.
        ask: how many machines answer, of how many; see `answering`.
        say: tells people.
        clock: seconds.
    """

    def __init__(
        self,
        what: str,
        ask: "Callable[[], tuple[int, int]] | None" = None,
        say: Callable[[str], None] = notice,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._ask, self._say, self._clock = what, ask or answering, say, clock
        self._heard = self._answered = clock()
        self._longest, self._due, self._word = 0.0, FIRST_S, FIRST_S

    def heard(self) -> None:
        """Something came."""
        now = self._clock()
        self._longest = max(self._longest, now - self._heard)
        self._heard = self._answered = now
        self._due = self._word = max(FIRST_S, TIMES * self._longest)

    def look(self) -> None:
        """To be called while nothing comes, every few seconds.

        Raises:
            GaveUpError: nothing came, and no machine has answered, for as long as the settings allow.
        """
        now = self._clock()
        silent = now - self._heard
        bound = _BOUND[0]
        if silent < min(self._due, self._answered - self._heard + bound):
            return
        answer, machines = self._ask()
        if answer:
            self._answered = now
        if not answer and now - self._answered >= bound:
            raise GaveUpError(
                f"waited for {self._what} for {silent / 60:.0f} minutes, and none of the cluster's {machines} machines answers",
                code="no-cluster",
                where=f"cluster.silence_minutes = {bound / 60:g}",
                fix=f"usually {DRIVER.format(address=_address())}; the same command resumes from what is finished",
            )
        self._due = silent + bound / 4
        if silent < self._word:
            return
        self._word = 2 * silent
        why = (
            f"{answer} of {machines} machines answer: workers compute, or wait for CPUs, GPUs or room in the object store"
            if answer
            else f"no machine answers; usually {DRIVER.format(address=_address())}, or all are busy or gone"
        )
        event("waiting", seconds=round(silent, 1), answering=answer, machines=machines)
        self._say(f"waiting for {self._what} for {silent:.0f} s: {why}")


def awaited(reference: Any, what: str) -> Any:
    """The result of a task or of an actor's method of Ray, waited for with a word.

    Raises:
        GaveUpError: no machine has answered for as long as the settings allow.
        RayError: the task failed; a `RayTaskError` is also what it raised.
    """
    import ray

    silence = Silence(what)
    while not ray.wait([reference], timeout=LOOK_S)[0]:
        silence.look()
    return ray.get(reference)


def answering() -> tuple[int, int]:
    """How many of the cluster's living machines bring this process an answer within ASK_S seconds, and how many there are.

    An ordinary task's answer comes back on the connection that this process has opened. Results of actors that stream come on
    one that the worker opens, as these do: a machine that cannot reach this process must not count as one that answers.
    """
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    came = 0
    try:
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"]]
        ask = ray.remote(num_cpus=0, max_retries=0, num_returns="streaming")(_answers)
        asked = [ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote() for node in nodes]
        ready, _ = ray.wait(asked, num_returns=len(asked), timeout=ASK_S)
        for one in ready:
            with suppress(RayError, StopIteration):  # the machine has just gone
                came += bool(ray.get(next(one), timeout=ASK_S))
        for one in asked:
            with suppress(RayError):
                ray.cancel(one, force=True)
    except RayError:
        return 0, 0
    return came, len(nodes)


def require_answer(ask: "Callable[[], tuple[int, int]] | None" = None) -> None:
    """Wait until a machine of the cluster that was joined answers; what would otherwise hang in the first stage ends here.

    Raises:
        GaveUpError: none does for as long as the settings allow.
    """
    found = ask or answering
    silence = Silence("an answer of the cluster", found)
    while not found()[0]:
        silence.look()


def _answers() -> Iterator[bool]:
    yield True


def _address() -> str:
    import ray

    try:
        return str(ray.util.get_node_ip_address())
    except Exception:  # only words for people depend on it
        return "its address"
