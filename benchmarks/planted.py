"""What does the filter catch, and whom does it take along? Known copies of members, and strangers, through the real detectors.

    python benchmarks/planted.py            # about two minutes on two cores
    python benchmarks/planted.py --last     # print the stored figures without running

The network learns from seven pictures of every member of the faces example and the gallery holds these; the other three are
`other_photo`. Thresholds come from half of the hold-out people, strangers are the other half.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from harness import print_last, store
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pd.config import CalibrationSettings, FilterSettings, Settings, load_settings
from pd.dataset.images import from_tensor, to_tensor
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset
from pd.diffusion import autoencoder
from pd.filters.calibration import find_thresholds
from pd.filters.decide import Thresholds, margin
from pd.filters.prepare import prepare
from pd.filters.scorer import Scorer, Scores
from pd.progress import Reporter
from pd.reid.augment import blur, jpeg, move, noise, tone
from pd.seeds import derive

ROOT = Path(__file__).parent.parent
LEARNT = 7  # pictures of each member that the network and the gallery have
JITTERS = 7  # jittered copies of each
QUANTILES = (0.8, 0.9, 0.95, 0.99)

Pixels = NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("planted")
        return
    settings = load_settings(ROOT / "configs" / "faces.yaml", arguments.set)
    with tempfile.TemporaryDirectory() as scratch:
        store("planted", measure_all(settings, Path(scratch)))


def measure_all(settings: Settings, folder: Path) -> dict[str, object]:
    """Recall of each kind and share of strangers dropped, at the example's thresholds and at equal stranger quantiles."""
    ingest(settings.data, derive(settings.seed, "split"), folder / "dataset")
    real = PrivateDataset.read(folder / "dataset")
    everybody = real.members()
    turn = _turns(real.identities)
    known = real.where([split == "holdout" or at < LEARNT for split, at in zip(real.splits, turn, strict=True)])
    members = known.members()
    measured = prepare(known, settings, folder / "reid", Reporter())
    scorer = Scorer(folder / "reid", folder / "reid")
    vae = autoencoder.bundled(settings.data.mode, settings.data.size)
    planted = {
        "member": members.images,
        "jittered": jittered(members.images, settings),
        "round_trip": from_tensor(autoencoder.decode(vae, autoencoder.encode(vae, members.images)), settings.data.mode),
        "other_photo": everybody.where([at >= LEARNT for at in _turns(everybody.identities)]).images,
        "strangers": real.holdout_half("audit", settings.seed).images,
    }
    scores = {kind: scorer.score(images) for kind, images in planted.items()}

    def dropped(calibration: CalibrationSettings, filters: FilterSettings) -> dict[str, dict[str, float]]:
        limits = find_thresholds(measured, calibration, filters)
        return {kind: _shares(found, limits, filters) for kind, found in scores.items()}

    example = dropped(settings.reid.calibration, settings.filter)
    curve = {str(q): dropped(CalibrationSettings(quantile=q), FilterSettings(near_copy_quantile=q)) for q in QUANTILES}
    console = Console(width=110)
    for title, found in (("as configs/faces.yaml", example), *((f"stranger quantile {q}", curve[q]) for q in curve)):
        table = Table(title=f"share dropped, {title}")
        for heading in ("", "images", "reid", "near_copy", "either"):
            table.add_column(heading, justify="right")
        for kind, row in found.items():
            table.add_row(kind, str(len(planted[kind])), *(f"{row[by]:.3f}" for by in ("reid", "near_copy", "either")))
        console.print(table)
    return {
        "recall": {kind: example[kind]["either"] for kind in planted if kind != "strangers"},
        "strangers_dropped": example["strangers"]["either"],
        "by_detector": example,
        "at_stranger_quantile": curve,
        "images": {kind: len(images) for kind, images in planted.items()},
    }


def jittered(images: Pixels, settings: Settings) -> Pixels:
    """JITTERS copies of each image, (N, H, W, C): cropped, mirrored, toned, blurred, made noisy and compressed, all at once."""
    copies = to_tensor(np.repeat(images, JITTERS, axis=0))
    chance = torch.Generator().manual_seed(derive(settings.seed, "planted"))

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(len(copies), generator=chance)

    x = move(
        copies,
        degrees=uniform(-5, 5),
        scale=uniform(0.9, 1.0),
        shift=torch.stack([uniform(-0.05, 0.05), uniform(-0.05, 0.05)], 1),
        mirror=uniform(0, 1) < 0.5,
    )
    x = tone(x, brightness=uniform(-0.15, 0.15), contrast=uniform(0.85, 1.15))
    x = blur(x, sigma=uniform(0.0, 1 / 32) * copies.shape[-1])
    x = noise(x, sigma=uniform(0.0, 0.1), generator=chance)
    return from_tensor(jpeg(x, quality=uniform(50, 95)), settings.data.mode)


def _turns(names: list[str]) -> list[int]:
    """How often each name has been there before."""
    seen: Counter[str] = Counter()
    turns = []
    for name in names:
        turns.append(seen[name])
        seen[name] += 1
    return turns


def _shares(scores: Scores, limits: Thresholds, filters: FilterSettings) -> dict[str, float]:
    by_reid = margin(scores.score, scores.further, limits, filters.vote) >= 0
    by_copy = scores.near_copy >= limits.near_copy
    found = {"reid": by_reid, "near_copy": by_copy, "either": by_reid | by_copy}
    return {name: round(float(hit.mean()), 4) for name, hit in found.items()}


if __name__ == "__main__":
    main()
