import os
import subprocess
import sys
import threading

import pytest

from pd.engine.cpu.cores import interrupting, keep_to_own_cores, not_interrupting

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no threads to cores")


def in_a_thread(rank: int, threads: int) -> set[int]:
    """Where a thread, and one that it starts, may run after it kept to its cores."""
    found: list[set[int]] = []

    def look() -> None:
        found.append(os.sched_getaffinity(0))

    def work() -> None:
        keep_to_own_cores(rank, threads)
        look()
        child = threading.Thread(target=look)
        child.start()
        child.join()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0] == found[1]
    return found[0]


def test_ranks_have_cores_of_their_own() -> None:
    before = os.sched_getaffinity(0)
    shares = [in_a_thread(rank, 1) for rank in range(len(before))]
    assert set().union(*shares) == before
    assert sum(len(share) for share in shares) == len(before)
    assert os.sched_getaffinity(0) == before  # other threads go where they went


def test_a_rank_too_many_goes_anywhere() -> None:
    cores = os.sched_getaffinity(0)
    assert in_a_thread(len(cores), 1) == cores
    assert in_a_thread(0, len(cores) + 1) == cores


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="this system has no such policy")
def test_what_is_started_waits_for_its_turn_but_for_threads_that_compute() -> None:
    before = os.sched_getscheduler(0)
    ask = [sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"]
    with not_interrupting():
        assert int(subprocess.check_output(ask)) == os.SCHED_BATCH
        with interrupting():
            assert os.sched_getscheduler(0) == os.SCHED_OTHER
        assert os.sched_getscheduler(0) == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == before
