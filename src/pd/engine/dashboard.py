"""Where to look at the cluster that works on a run: kept beside the run, for `pd status`."""

from collections.abc import Mapping
from pathlib import Path

from pd.engine.submitted_job import submission_id
from pd.store.atomic import write_json

FILE = "dashboard.json"


def note_dashboard(work: Path, address: str | None) -> None:
    """Keep the addresses of Ray's pages on this run; without a dashboard, forget those of an earlier attempt.

    Args:
        work: the run's folder for what a finished run does not need.
        address: of the dashboard, `host:port`; empty or None: there is none.
    """
    path = work / FILE
    if not address:
        path.unlink(missing_ok=True)
        return
    write_json(path, pages(f"http://{address}", submission_id()))


def pages(server: str, job: str | None) -> Mapping[str, str]:
    """What is worth looking at, and where it is."""
    found = {"cluster": f"{server}/#/cluster", "metrics": f"{server}/#/metrics"}
    return {"job": f"{server}/#/jobs/{job}", **found} if job else {"jobs": f"{server}/#/jobs", **found}
