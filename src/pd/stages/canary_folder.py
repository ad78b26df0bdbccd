"""Canaries in a folder of images, for a training script that is not ours, and the judgement of its scores."""

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np

from pd.dataset.images import encode_png
from pd.dp import canaries as bounds
from pd.dp.canaries import LowerBound
from pd.errors import UserError
from pd.seeds import derive
from pd.store.atomic import write_folder, write_json

_BLOCK = 4  # pixels of a canary's blocks: no camera makes such pictures


def insert(images: Path, out: Path, count: int, size: int, seed: int) -> Path:
    """Write `out`, a copy of `images` with about half of the canaries, and `out`-canaries with all of them.

    Returns:
        the key: which are in. Keep it from whoever trains and scores.

    Raises:
        UserError: there are no images, or there is such a folder already.
    """
    aside = out.with_name(f"{out.name}-canaries")
    if not images.is_dir() or not any(images.iterdir()):
        raise UserError(
            "no images in this folder", code="no-images", where=str(images), fix="name a folder with one sub-folder a person"
        )
    for path in (out, aside):
        if path.exists():
            raise UserError("there is such a folder already", code="already-there", where=str(path), fix="choose another name")
        if images.resolve() in path.resolve().parents:
            raise UserError("lies in the folder of images", code="bad-options", where=str(path), fix="name a folder beside it")
    if any(images.glob("canary-[0-9]*")):
        raise UserError(
            "there are canaries in this folder already", code="already-there", where=str(images), fix="name one without"
        )
    rng = np.random.default_rng(derive(seed, "canary folder"))
    inserted = rng.random(count) < 0.5
    cells = -(-size // _BLOCK)
    with write_folder(aside) as every:
        for number in range(count):
            blocks = rng.integers(0, 2, (cells, cells)).astype(np.uint8) * 255
            picture = np.kron(blocks, np.ones((_BLOCK, _BLOCK), np.uint8))[:size, :size, None]
            (every / f"canary-{number:05d}.png").write_bytes(encode_png(picture))
        write_json(every / "key.json", {f"canary-{i:05d}": bool(it) for i, it in enumerate(inserted)})
    with write_folder(out) as whole:
        shutil.copytree(images, whole, dirs_exist_ok=True)
        for number in np.flatnonzero(inserted).tolist():
            name = f"canary-{number:05d}"
            (whole / name).mkdir()
            shutil.copyfile(aside / f"{name}.png", whole / name / f"{name}.png")
    return aside / "key.json"


def judge_file(scores: Path, key: Path, delta: float, confidence: float) -> LowerBound:
    """The bound from a CSV of scores.

    Raises:
        UserError: a file cannot be read, or canaries are missing, duplicate or not scored by a number.
    """
    try:
        truth = json.loads(key.read_text(encoding="utf-8"))
        with scores.open(encoding="utf-8", newline="") as file:
            rows = [(row["canary"].removesuffix(".png"), float(row["score"])) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"scores or key cannot be read ({type(error).__name__})",
            code="unreadable-file",
            where=f"{scores}, {key}",
            fix="a CSV with the columns canary,score, and the key.json that `insert` wrote",
        ) from None
    given = dict(rows)
    if len(given) != len(rows) or set(given) != set(truth) or not all(math.isfinite(value) for value in given.values()):
        raise UserError(
            f"{len(rows)} scores for {len(truth)} canaries; each needs one finite score",
            code="bad-value",
            where=str(scores),
            fix="score all",
        )
    names = sorted(truth)
    return bounds.judge(
        np.array([given[name] for name in names]), np.array([truth[name] for name in names]), delta, confidence=confidence
    )
