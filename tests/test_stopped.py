"""A `pd` that is stopped while Ray works for it: exit code 130, one line, and nothing of it left."""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

# A command as those of pd are: it has joined Ray, and threads of it wait in Ray's core, as Ray Data's and Ray Train's do.
COMMAND = textwrap.dedent("""
    import sys, tempfile, threading
    from pathlib import Path
    from pd.cli import app, main

    @app.command()
    def wait(scratch: Path) -> None:
        from pd.engine.runtime import connect

        connect()
        import ray

        @ray.remote(num_cpus=0.1)
        def sleep():
            import time
            time.sleep(600)

        with tempfile.TemporaryDirectory(dir=scratch):
            tasks = [sleep.remote() for _ in range(3)]
            threads = [threading.Thread(target=ray.get, args=(task,), daemon=True) for task in tasks]
            for thread in threads:
                thread.start()
            (scratch / "ready").touch()
            threads[0].join()

    sys.argv = ["pd", "wait", *sys.argv[1:]]
    main()
""")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_130_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background of a shell it would be ignored
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "ready").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)  # the threads wait by now
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert said.strip() == "pd: stopped; the same command goes on from what is finished"
    assert not psutil.wait_procs(family, timeout=60)[1], "Ray outlives its driver"
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]
