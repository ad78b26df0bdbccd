"""All checks, one after the other; each has its time, and none stops the others."""

from collections.abc import Callable, Iterator

from pd.config import Settings
from pd.config.mirrored import as_written
from pd.doctor import cluster
from pd.doctor.bucket import bucket
from pd.doctor.data import data
from pd.doctor.finding import Finding, bounded
from pd.doctor.licence import licences
from pd.doctor.machines import this_machine
from pd.doctor.storage import storage
from pd.engine.shared_folder import in_bucket

EACH_S = 60.0
WHOLE_S = 300.0  # of the cluster's checks, which have bounds of their own


def examine(settings: Settings | None, address: str | None = None) -> Iterator[Finding]:
    """Look at this machine and the cluster; with settings also at what they name.

    Args:
        settings: of the run that is to be.
        address: of Ray's head; else as the settings say, RAY_ADDRESS, or what was started here.
    """
    there = address or (settings.address if settings else None)
    checks: list[tuple[str, Callable[[], list[Finding]], float]] = [("machine", lambda: this_machine(settings), EACH_S)]
    if settings is not None:
        place = as_written(settings.runs)
        if in_bucket(settings.runs):
            checks.append(("bucket", lambda: bucket(place), EACH_S))
        else:
            checks.append(("runs", lambda: storage(settings.runs), EACH_S))
        checks.append(("data", lambda: data(settings.data), EACH_S))
        checks.append(("licence", lambda: licences(settings), EACH_S))
        checks.append(("job server", lambda: cluster.server(settings), EACH_S))
    checks.append(("cluster", lambda: cluster.cluster(there, settings), WHOLE_S))
    for name, look, seconds in checks:
        yield from bounded(name, look, seconds)
