"""What the job scripts share: `--config FILE --set KEY=VALUE` becomes `pd COMMAND FILE --set KEY=VALUE`, exit codes and all."""

import argparse
import sys
from pathlib import Path

UPLOADED = Path(__file__).resolve().parents[1] / "src"  # the code that was submitted, not what the cluster may have installed


def run(command: str) -> None:
    """Run one command of `pd` on the cluster that runs this job, and exit with its code.

    Args:
        command: a stage, or `run` for all of them.
    """
    parser = argparse.ArgumentParser(description=f"`pd {command}` as a job of a Ray cluster")
    parser.add_argument("--config", required=True, metavar="FILE", help="settings file, as in the folder that was submitted")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override one setting")
    given = parser.parse_args()
    pass_on(command, given.config, *(f"--set={override}" for override in given.set))


def pass_on(*words: str) -> None:
    """Run `pd` with these words, and exit with its code."""
    if UPLOADED.is_dir():
        sys.path.insert(0, str(UPLOADED))
    from pd.cli import main

    sys.argv = ["pd", *words]
    main()
