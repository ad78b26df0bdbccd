"""Does the filter decide alike whatever its seed? Filters that differ in their seeds alone, on the same candidates."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from pd.audit.tripartite import Decisions, consistency
from pd.config import Settings
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset
from pd.filters.calibration import find_thresholds, measure, read_measurements, write_measurements
from pd.filters.decide import Thresholds, margin
from pd.filters.gallery import build_gallery
from pd.filters.scorer import Scorer
from pd.progress import Reporter
from pd.reid.network import load, save, save_all
from pd.reid.train import train
from pd.seeds import derive
from pd.store.atomic import write_folder
from pd.store.run import Run

_SCORES = "candidates.safetensors"


def filter_consistency(run: Run, settings: Settings, folder: Path, *, filters: int = 3, networks: int = 3) -> dict[str, Any]:
    """Cohen's kappa and Jaccard index of the filters' decisions on a run's own candidates, means over pairs, with intervals.

    Every filter has networks of its own, trained on the run's members as its filter was, its thresholds from the same
    hold-out people by the same settings, and the near-copy detector, which has no seed.

    Args:
        run: finished up to its candidates.
        settings: its settings.
        folder: gets the networks and what they say; what is finished is not made again.
        filters: S, how many filters.
        networks: how many networks vote in each.

    Returns:
        `voting`: filters whose networks vote by majority, and `any`: those that one network's vote is enough for; each with the
        near-copy detector (`kappa`, `jaccard`, `seeds`) and without (`networks`). `single`: the same of all S * networks
        networks, one in a filter. `kappa` is that of `voting`. And the share each voting filter drops.
    """
    real = PrivateDataset.read(run.dataset)
    settings = settings.model_copy(update={"reid": settings.reid.model_copy(update={"networks": networks})})
    folders = [folder / f"filter{number}" for number in range(filters)]
    for number, place in enumerate(folders):
        if not (place / _SCORES).exists():
            _make(number, place, real, run, settings)
    scored = [load_file(place / _SCORES) for place in folders]
    limits = [find_thresholds(read_measurements(place), settings.reid.calibration, settings.filter) for place in folders]
    copies = scored[0]["near_copy"] >= limits[0].near_copy
    seed = derive(settings.seed, "consistency")

    def agreement(dropped: Decisions) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for part, decided in (("whole", dropped | copies), ("networks", dropped)):
            agreed = consistency(decided, seed=seed)
            found[part] = agreed.as_json() if agreed else {"why": "a filter drops all candidates, or none"}
        return {**found["whole"], "networks": found["networks"]}

    votes = {
        vote: np.array([_dropped(*each, vote) for each in zip(scored, limits, strict=True)]) for vote in ("majority", "any")
    }
    each = np.array([_network(one, k) for one, k in product(zip(scored, limits, strict=True), range(networks))])
    voting = agreement(votes["majority"])
    return {
        "kappa": voting.get("kappa"),
        "voting": voting,
        "any": agreement(votes["any"]),
        "single": agreement(each),
        "candidates": len(copies),
        "networks_in_a_filter": networks,
        "dropped": {
            "voting": [float((one | copies).mean()) for one in votes["majority"]],
            "voting_without_near_copy": [float(one.mean()) for one in votes["majority"]],
            "near_copy": float(copies.mean()),
        },
    }


def _make(number: int, place: Path, real: PrivateDataset, run: Run, settings: Settings) -> None:
    """Train a filter's networks, unless they are there, measure them on hold-out people and score the candidates."""
    members, trained = real.members(), []
    for k in range(settings.reid.networks):
        kept = place.with_name(f"{place.name}-network{k}")
        if not (kept / "config.json").exists():
            seed = derive(settings.seed, "consistency", number, k)
            with Reporter().task(f"filter {number + 1}, network {k + 1} of {settings.reid.networks}") as progress:
                network = train(members.images, members.identities, settings.reid, seed, progress)
            with write_folder(kept) as made:
                save(network, made)
        trained.append(load(kept))
    with write_folder(place) as made:
        save_all(trained, made)
        build_gallery(trained, members, made)
        write_measurements(measure(trained, made, real, settings.seed), made)
        found = Scorer(made, made).score(SyntheticDataset.read(run.candidates).images[:])
        likeness = {"score": found.score, "further": found.further, "near_copy": found.near_copy}
        save_file({name: np.ascontiguousarray(values) for name, values in likeness.items()}, made / _SCORES)


def _dropped(scored: dict[str, Any], limits: Thresholds, vote: Any) -> Decisions:
    return np.asarray(margin(scored["score"], scored["further"], limits, vote) >= 0, bool)


def _network(one: tuple[dict[str, Any], Thresholds], k: int) -> Decisions:
    """(N,) what the k-th network of a filter alone would drop."""
    scored, limits = one
    likeness = scored["score"] if k == 0 else scored["further"][:, k - 1]
    return np.asarray(likeness >= (limits.reid, *limits.further)[k], bool)
