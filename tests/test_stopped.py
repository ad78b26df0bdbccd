"""A `pd` for which a Ray of its own works: nobody else is let in; stopped, it ends with 130, one line, and nothing left."""

import os
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
            (scratch / "ready").write_text(ray.get_runtime_context().gcs_address)
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
    listening = [
        one for each in (process, *family) for one in psutil.Process(each.pid).net_connections() if one.status == "LISTEN"
    ]
    assert listening
    assert {one.laddr.ip.removeprefix("::ffff:") for one in listening} <= {"127.0.0.1", "::1"}  # others would be let in
    if number == signal.SIGTERM:  # once is enough: it takes a while
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        knock = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
        stranger = [sys.executable, "-c", knock, (tmp_path / "ready").read_text()]
        refused = subprocess.run(stranger, env=environment, capture_output=True, text=True, timeout=120)
        assert "AuthenticationError" in refused.stderr
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert said.strip() == "pd: stopped; the same command goes on from what is finished"
    assert not psutil.wait_procs(family, timeout=60)[1], "Ray outlives its driver"
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]
