"""What does the filter catch, and whom does it take along? Known copies of members, and strangers, through the real detectors.

    python benchmarks/planted.py            # five draws of the people; about ten minutes on two cores
    python benchmarks/planted.py --last     # print the stored figures without running

The network learns from seven pictures of every member of the faces example and the gallery holds these; the other three are
`other_photo`. Thresholds come from half of the hold-out people, strangers are the other half: their pictures, and as many
jittered ones as make up 20,000 candidates. Every seed draws other members; figures are means over seeds.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from harness import print_last, store
from rich.console import Console
from rich.table import Table

from pd.audit.planted import KINDS, jittered
from pd.config import CalibrationSettings, FilterSettings, Settings, load_settings
from pd.dataset.images import from_tensor
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset
from pd.diffusion import autoencoder
from pd.engine.recognisers import recognisers
from pd.filters.calibration import find_thresholds
from pd.filters.decide import Thresholds, margin
from pd.filters.prepare import prepare
from pd.filters.scorer import Scorer, Scores
from pd.progress import Reporter
from pd.seeds import derive

ROOT = Path(__file__).parent.parent
LEARNT = 7  # pictures of each member that the network and the gallery have
CANDIDATES = 20_000
JITTERS = 50  # jittered copies of each member image
DETECTORS = ("reid", "near_copy", "either")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9, 10, 11])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("planted")
        return
    rounds = []
    for seed in arguments.seeds:
        settings = load_settings(ROOT / "configs" / "faces.yaml", [f"seed={seed}", *arguments.set])
        with tempfile.TemporaryDirectory() as scratch:
            rounds.append(one_draw(settings, Path(scratch)))
    show(rounds)
    shares = mean([found for found, _ in rounds])
    store(
        "planted",
        {
            "recall": {kind: shares["default"][kind]["either"] for kind in KINDS},
            "strangers_dropped": shares["default"]["strangers"]["either"],
            "strangers_dropped_by_seed": {
                str(seed): found["default"]["strangers"]["either"]
                for seed, (found, _) in zip(arguments.seeds, rounds, strict=True)
            },
            "shares": shares,
            "images": rounds[0][1],
        },
    )


def one_draw(settings: Settings, folder: Path) -> tuple[dict[str, dict[str, dict[str, float]]], dict[str, int]]:
    """Setting -> kind -> detector -> share dropped, and how many images there are of each kind."""
    ingest(settings.data, derive(settings.seed, "split"), folder / "dataset")
    real = PrivateDataset.read(folder / "dataset")
    everybody = real.members()
    turn = _turns(real.identities)
    known = real.where([split == "holdout" or at < LEARNT for split, at in zip(real.splits, turn, strict=True)])
    members = known.members()
    networks = recognisers(known.members(), settings, folder / "training", Reporter())
    measured = prepare(known, networks, settings, folder / "reid")
    scorer = Scorer(folder / "reid", folder / "reid")
    chance = derive(settings.seed, "planted")
    vae = autoencoder.bundled(settings.data.mode, settings.data.size)
    planted = {
        "member": members.images,
        "jittered": jittered(members.images, JITTERS, settings.data.mode, chance),
        "round_trip": from_tensor(autoencoder.decode(vae, autoencoder.encode(vae, members.images)), settings.data.mode),
        "other_photo": everybody.where([at >= LEARNT for at in _turns(everybody.identities)]).images,
        "strangers": real.holdout_half("audit", settings.seed).images,
    }
    strangers, room = planted["strangers"], CANDIDATES - sum(len(images) for images in planted.values())
    planted["strangers_jittered"] = jittered(strangers, -(-room // len(strangers)), settings.data.mode, chance)[:room]
    scores = {kind: scorer.score(images) for kind, images in planted.items()}
    ways = {
        "default": (CalibrationSettings(), FilterSettings()),
        "configs/faces.yaml": (settings.reid.calibration, settings.filter),
        **{
            f"both {q}": (CalibrationSettings(quantile=q), FilterSettings(near_copy_quantile=q)) for q in (0.8, 0.9, 0.95, 0.99)
        },
    }
    found = {}
    for way, (calibration, filters) in ways.items():
        limits = find_thresholds(measured, calibration, filters)
        found[way] = {kind: _shares(score, limits, filters) for kind, score in scores.items()}
    return found, {kind: len(images) for kind, images in planted.items()}


def mean(rounds: list[dict[str, dict[str, dict[str, float]]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Means over seeds of all shares."""
    return {
        way: {
            kind: {by: round(float(np.mean([one[way][kind][by] for one in rounds])), 4) for by in DETECTORS} for kind in kinds
        }
        for way, kinds in rounds[0].items()
    }


def show(rounds: list[tuple[dict[str, dict[str, dict[str, float]]], dict[str, int]]]) -> None:
    for way, kinds in mean([found for found, _ in rounds]).items():
        table = Table(title=f"share dropped, {way}, mean of {len(rounds)} draws of people")
        for heading in ("", "images", *DETECTORS, "either: least to most"):
            table.add_column(heading, justify="right")
        for kind, row in kinds.items():
            by_seed = [found[way][kind]["either"] for found, _ in rounds]
            spread = f"{min(by_seed):.3f} to {max(by_seed):.3f}"
            table.add_row(kind, str(rounds[0][1][kind]), *(f"{row[by]:.3f}" for by in DETECTORS), spread)
        Console(width=110).print(table)


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
