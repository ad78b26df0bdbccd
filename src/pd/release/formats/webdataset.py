"""Tar shards as WebDataset reads them: `ID.png`, `ID.txt` with the prompt, `ID.json` with the labels."""

import io
import json
import tarfile
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from pd.release.formats.rows import Kept

SHARD_ROWS = 1000  # ours


def write_webdataset(rows: Iterable[Kept], folder: Path) -> None:
    """Write shards of up to 1,000 images; times and owners are zero, so that equal rows give equal bytes."""
    for shard, part in groupby(enumerate(rows), key=lambda item: item[0] // SHARD_ROWS):
        with tarfile.open(folder / f"shard-{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for _, row in part:
                said = json.dumps(dict(row.labels), sort_keys=True).encode()
                for suffix, data in (("png", row.png), ("txt", row.prompt.encode()), ("json", said)):
                    info = tarfile.TarInfo(f"{row.id}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
