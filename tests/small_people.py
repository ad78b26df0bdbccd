"""Pictures of a few people, soft noise of their own, for audits that take seconds."""

from io import StringIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from rich.console import Console

from pd.progress import Reporter

QUICK = ("audit.attackers=[thumbnails]", "audit.bootstrap=100")


def reporter() -> tuple[Reporter, StringIO]:
    """A reporter, and what it says."""
    said = StringIO()
    return Reporter(Console(file=said, width=500)), said


def small_people(root: Path, people: int = 16, each: int = 3, size: int = 32, mode: str = "L") -> Path:
    """A folder with one sub-folder for each person."""
    rng = np.random.default_rng(0)
    for person in range(people):
        folder = root / f"p{person:02d}"
        folder.mkdir(parents=True)
        own = rng.normal(size=(size, size, 3))
        for number in range(each):
            pixels = 128 + 300 * (own + 0.3 * rng.normal(size=own.shape))
            noise = Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(size / 16))
            noise.convert(mode).save(folder / f"{number}.png")
    return root


def manifest_of(folder: Path, columns: str = "", values: str = "") -> Path:
    """The folder's pictures as a manifest, with further columns of one value each."""
    rows = [f"{path.relative_to(folder)},{path.parent.name}{values}" for path in sorted(folder.glob("*/*.png"))]
    file = folder / "people.csv"
    file.write_text("\n".join([f"path,identity{columns}", *rows]) + "\n")
    return file
