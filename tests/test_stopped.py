"""A `pd` for which a Ray of its own works: nobody else is let in; stopped, it ends with 130, one line, and nothing left."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pd.store.scratch import make_scratch

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
            node = ray._private.worker._global_node
            (scratch / "wrote").write_text(node.gcs_address + "\\n" + node.get_session_dir_path())
            (scratch / "wrote").rename(scratch / "ready")
            threads[0].join()

    sys.argv = ["pd", "wait", *sys.argv[1:]]
    main()
""")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where Ray has its sessions; short, for sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="pd") as folder:
        yield Path(folder)


def started(scratch: Path, temporary: Path) -> tuple[subprocess.Popen[str], str, Path]:
    """The command once it waits, the address of its Ray, and the folder of the session."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(scratch)],
        env={**os.environ, "RAY_TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background of a shell it would be ignored
    )
    deadline = time.monotonic() + 120
    while not (scratch / "ready").exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)  # the threads wait by now
    address, session = (scratch / "ready").read_text().splitlines()
    return process, address, Path(session)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.exhaustive)])
def test_it_ends_with_130_and_leaves_nothing(number: signal.Signals, tmp_path: Path, temporary: Path) -> None:
    process, address, session = started(tmp_path, temporary)
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    listening = [
        one for each in (process, *family) for one in psutil.Process(each.pid).net_connections() if one.status == "LISTEN"
    ]
    assert listening
    closed = session.parent.parent
    assert closed.parent == temporary
    assert closed.stat().st_mode & 0o777 == 0o700  # Ray lets everybody write to what is in it
    assert {one.laddr.ip.removeprefix("::ffff:") for one in listening} <= {"127.0.0.1", "::1"}  # others would be let in
    if number == signal.SIGTERM:  # once is enough: it takes a while
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        knock = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
        stranger = [sys.executable, "-c", knock, address]
        refused = subprocess.run(stranger, env=environment, capture_output=True, text=True, timeout=120)
        assert "AuthenticationError" in refused.stderr
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert said.strip() == "pd: stopped; the same command resumes from what is finished"
    assert not psutil.wait_procs(family, timeout=60)[1], "Ray outlives its driver"
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]
    assert not list(temporary.iterdir())


def test_a_temporary_folder_with_a_long_name_is_reached_by_a_short_one(tmp_path: Path) -> None:
    temporary = tmp_path / "with a name that is too long for sockets"
    temporary.mkdir()
    process, _, session = started(tmp_path, temporary)
    assert len(str(session)) < 64
    assert session.resolve().is_relative_to(temporary)
    assert session.parent.parent.stat().st_mode & 0o777 == 0o700
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert not session.parent.parent.exists()
    assert list(temporary.iterdir()) == []


@pytest.mark.exhaustive
def test_what_a_killed_one_leaves_is_swept_by_the_next(tmp_path: Path, temporary: Path) -> None:
    process, _, session = started(tmp_path, temporary)
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=60)
    psutil.wait_procs(family, timeout=60)
    assert session.exists()
    folder, lock = make_scratch("pd-ray-", temporary)
    os.close(lock)
    assert list(temporary.iterdir()) == [folder]
