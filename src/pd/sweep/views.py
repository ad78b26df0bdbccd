"""What attackers said, on disk: a sweep that resumes does not ask them again."""

from dataclasses import fields
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pd.store.atomic import disk_errors
from pd.sweep.judge import Views
from pd.sweep.leak import View

_FILE = "views.safetensors"


def write_views(views: Views, folder: Path) -> None:
    """Write `views.safetensors`, whole or not at all."""
    rows = {
        f"{name}/{fold}/{field.name}": np.ascontiguousarray(getattr(view, field.name))
        for name, folds in views.items()
        for fold, view in enumerate(folds)
        for field in fields(View)
    }
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        aside = folder / f".{_FILE}.partial"
        save_file(rows, aside)
        aside.rename(folder / _FILE)


def read_views(folder: Path) -> dict[str, list[View]] | None:
    """What `write_views` wrote; None where there is nothing, or nothing whole."""
    try:
        rows = load_file(folder / _FILE)
    except (OSError, SafetensorError):
        return None
    views: dict[str, list[View]] = {}
    for name, fold in sorted({tuple(key.rsplit("/", 2)[:2]) for key in rows}):
        views.setdefault(name, []).append(View(**{field.name: rows[f"{name}/{fold}/{field.name}"] for field in fields(View)}))
    return views
