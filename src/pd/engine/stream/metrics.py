"""What a worker tells Ray's metrics: where its seconds go, and what it made. Prometheus scrapes them on every node."""

import json
from collections.abc import Mapping
from typing import Any


class Meters:
    """The counters of one worker; Ray names them with `ray_` in front and sums nothing: rate() and sum() are the reader's."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter

        self._seconds = Counter(
            "pd_stream_phase_seconds_total", "Seconds that workers spent, by phase; the largest is the bottleneck.", ("phase",)
        )
        self._images = Counter("pd_stream_images_total", "Images finished.")
        self._reasons = Counter(
            "pd_stream_decisions_total", "Images by what the filter would say: kept, or why not.", ("reason",)
        )
        self._bytes = Counter("pd_stream_written_bytes_total", "Bytes of the shards written.")

    def add(self, done: Mapping[str, Any]) -> None:
        """Count a finished shard, as `stream.work.done_row` tells of it."""
        for phase, spent in json.loads(done["seconds"]).items():
            _count(self._seconds, spent, {"phase": phase})
        for reason, count in json.loads(done["reasons"]).items():
            _count(self._reasons, count, {"reason": reason or "kept"})
        _count(self._images, done["rows"])
        _count(self._bytes, done["bytes"])


def _count(counter: Any, value: float, tags: dict[str, str] | None = None) -> None:
    if value > 0:  # Ray refuses to count nothing
        counter.inc(value, tags)
