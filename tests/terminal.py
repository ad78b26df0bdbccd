"""`pd` as a user types it."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

from pd.cli.entry import _run
from pd.store.atomic import keep_private

ROOT = Path(__file__).parent.parent
PD = Path(sys.executable).with_name("pd")
ALL_ARMS = "audit.arms=[teacher, unfiltered, random_drop, kept, filtered]"
SHORT_AUDIT = ("audit.samples=24", "audit.bootstrap=20", "audit.attacker_steps=2")  # for tests that do not look at its figures


def pd(*words: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `pd` and hand back what it printed and its exit code."""
    return subprocess.run([str(PD), *map(str, words)], capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT)


def pd_here(*words: object) -> subprocess.CompletedProcess[str]:
    """The same in this process, which starts no interpreter: for commands that neither join Ray nor are sent signals.

    What `main` does beyond this (signals, the end of the process, where `--debug` may stand) is left out; `pd` is the whole.
    """
    typed, out, err = [str(word) for word in words], io.StringIO(), io.StringIO()
    umask = os.umask(0)
    try:
        keep_private()
        with contextlib.chdir(ROOT), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = _run(typed, debug=False)
            except SystemExit as left:
                code = left.code if isinstance(left.code, int) else 1
    finally:
        os.umask(umask)
    return subprocess.CompletedProcess(typed, code, out.getvalue(), err.getvalue())
