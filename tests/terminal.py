"""`pd` as a user types it."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PD = Path(sys.executable).with_name("pd")
ALL_ARMS = "audit.arms=[teacher, unfiltered, random_drop, kept, filtered]"


def pd(*words: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run `pd` and hand back what it printed and its exit code."""
    return subprocess.run([str(PD), *map(str, words)], capture_output=True, text=True, timeout=timeout, check=False, cwd=ROOT)
