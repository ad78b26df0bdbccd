"""Hugging Face's imagefolder: a file an image, and `metadata.jsonl` beside them."""

import json
from collections.abc import Iterable
from pathlib import Path

from pd.release.formats.rows import Kept


def write_imagefolder(rows: Iterable[Kept], folder: Path) -> None:
    """Write `ID.png` and a line of `metadata.jsonl` for each row; `datasets.load_dataset("imagefolder")` reads them."""
    with (folder / "metadata.jsonl").open("w", encoding="utf-8") as lines:
        for row in rows:
            name = f"{row.id}.png"
            (folder / name).write_bytes(row.png)
            lines.write(json.dumps({"file_name": name, "prompt": row.prompt, **row.labels}, sort_keys=True) + "\n")
