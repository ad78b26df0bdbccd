"""Audits of sets whose truth is known: coverage and width of intervals, what the gate decides, which disguises pass.

    python benchmarks/known_truth.py --data ../shared/data     # four data sets, five splits each; goes on where it stopped
    python benchmarks/known_truth.py --only nih --splits 1     # one split of one data set
    python benchmarks/known_truth.py --last                    # print the stored figures without running

People are split by lot into members, hold-out people (half of whom teach the attackers) and outsiders, of whom clean sets are
made. Sets of 600 samples: outsiders' pictures with 0, 2, 5, 10, 30 and 100 % of members' pictures among them, and others whose
truth is no number. Everything is embedded once per split; what is then computed is what `pd audit --real` computes.
"""

import argparse
import io
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from harness import print_last, store
from PIL import Image
from rich.console import Console
from rich.table import Table

from pd.audit import copies, reid_figures
from pd.audit.able import says_nothing
from pd.audit.attack import Attack, Looked
from pd.audit.attackers.base import Embedded, similarity
from pd.audit.attackers.choose import choose_attackers
from pd.audit.disguises import disguised
from pd.audit.planted import jittered
from pd.audit.reidentification import default_alpha
from pd.audit.results import ArmResult
from pd.config import Settings, parse_settings
from pd.dataset.images import Pixels, from_tensor, to_tensor
from pd.dataset.private import PrivateDataset
from pd.reid.altered_copies import AlteredCopies
from pd.reid.augment import blur
from pd.stages.limits import judge_limits

SETS = ("lfw", "nih", "feret", "ar")
SIDE, SAMPLES, DISGUISED = 32, 600, 60
SHARES = (0.02, 0.05, 0.1, 0.3, 1.0)
LIMIT, BOOTSTRAP = 0.03, 400
ATTACKERS = ("imagenet", "thumbnails", "whitened")
Json = dict[str, Any]
Rows = np.ndarray[Any, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--attackers", nargs="+", default=list(ATTACKERS))
    parser.add_argument("--copies", type=int, default=5, help="splits in which the search for altered copies attacks, too")
    parser.add_argument("--no-filter", action="store_true", help="leave the filter's part of the disguises out")
    parser.add_argument("--work", type=Path, default=Path("known_truth.work"), help="finished splits are kept here")
    arguments = parser.parse_args()
    if arguments.last:
        print_last("known_truth")
        return
    arguments.work.mkdir(parents=True, exist_ok=True)
    rounds = []
    for seed in range(arguments.splits):
        for name in arguments.only:
            done = arguments.work / f"{name}-{seed}.json"
            if not done.exists():
                started = time.time()
                parts = (seed < arguments.copies, seed == 0 and not arguments.no_filter)
                found = one_split(arguments.data / f"{name}.parquet", seed, arguments.attackers, *parts)
                done.write_text(json.dumps({"data": name, "seed": seed, **found}), encoding="utf-8")
                print(f"{name} {seed}: {time.time() - started:.0f} s", flush=True)
            rounds.append(json.loads(done.read_text(encoding="utf-8")))
    figures = summary(rounds)
    figures["by_data"] = {name: summary([one for one in rounds if one["data"] == name]) for name in arguments.only}
    show(figures)
    store("known_truth", figures)


@dataclass(frozen=True)
class Built:
    """A set: rows of the pool, and the share of copies in it (None: no number is the truth)."""

    kind: str
    rows: Rows
    truth: float | None


def one_split(file: Path, seed: int, attackers: list[str], with_copies: bool, with_filter: bool) -> Json:
    """All sets of one split."""
    real, outside = read(file, seed)
    members, held = real.members(), real.holdout()
    strangers, learning = real.holdout_half("audit", seed), real.holdout_half("calibration", seed)
    pool, sets = build(members, held, outside, seed)
    alpha = default_alpha(strangers.identities)
    attacks: dict[str, Attack] = {}
    for name, attacker in choose_attackers(attackers).items():
        attacker.fit(learning.images, learning.identities, seed=seed, steps=200)
        ours, theirs = Embedded.of(attacker, members.images), Embedded.of(attacker, strangers.images)
        attacks[name] = Attack(
            remembered(attacker.embed, pool, lambda rows, o=ours, t=theirs: (similarity(rows, o), similarity(rows, t))),
            members, strangers, alpha=alpha, bootstrap=BOOTSTRAP, seed=seed, galleries=(ours, theirs),
        )  # fmt: skip
    if with_copies:
        attacks[copies.NAME] = copies_remembered(members, strangers, pool, seed)
    found = []
    for one in sets:
        by_attacker = {name: attack(one.rows) for name, attack in attacks.items()}
        reid = reid_figures.figures(by_attacker)
        nothing = says_nothing({name: attacked.found for name, attacked in by_attacker.items()}, alpha)
        arm = ArmResult(reid=reid.model_copy(update={"says_nothing": nothing}) if nothing else reid)
        outcome = judge_limits(arm, {"excess": LIMIT}).outcome
        each = {name: asdict(one.found.excess) for name, one in by_attacker.items()}
        found.append({"kind": one.kind, "truth": one.truth, "excess": asdict(reid.excess), "outcome": outcome, "each": each})
    caught = disguises(real, outside, attacks, seed, with_filter) if with_copies else {}
    return {"sets": found, "disguises": caught, "alpha": alpha}


def copies_remembered(members: PrivateDataset, strangers: PrivateDataset, pool: Pixels, seed: int) -> Attack:
    """`pd.audit.copies.copies_attack`, which looks at each picture of the pool once."""
    ours = AlteredCopies.of(members.images)
    theirs = ours.gallery(strangers.images)

    def both(images: Pixels) -> Rows:
        return np.concatenate([ours.likeness(images), theirs.likeness(images)], axis=1)

    split = len(members)
    look = remembered(both, pool, lambda rows: (rows[:, :split].copy(), rows[:, split:].copy()))
    return Attack(look, members, strangers, alpha=copies.STRANGERS, bootstrap=BOOTSTRAP, seed=seed)


def remembered(
    embed: Callable[[Pixels], Rows], pool: Pixels, compare: Callable[[Rows], tuple[Rows, Rows]]
) -> Callable[[Any], Looked]:
    """Looks at pictures, or at rows of the pool, which were embedded once."""
    known = embed(pool)

    def look(images: Any) -> Looked:
        rows = known[images] if images.ndim == 1 else embed(images)
        return Looked(rows, lambda part: compare(rows[part])[0], lambda part: compare(rows[part])[1])

    return look


def build(members: PrivateDataset, held: PrivateDataset, outside: PrivateDataset, seed: int) -> tuple[Pixels, list[Built]]:
    """Pictures of all kinds, and the sets made of them."""
    rng = np.random.default_rng([seed, 1])

    def drawn(images: Pixels, count: int) -> Pixels:
        order = rng.permutation(len(images))
        more = rng.integers(0, len(images), max(count - len(images), 0))
        return images[np.concatenate([order[:count], more])]

    def blurred(images: Pixels) -> Pixels:
        return from_tensor(blur(to_tensor(images), sigma=np_full(len(images))), "grey")

    def means(images: Pixels, count: int) -> Pixels:
        return np.stack([drawn(images, 5).astype(np.float64).mean(0).round().astype(np.uint8) for _ in range(count)])

    def morphs(some: Pixels, others: Pixels) -> Pixels:
        return ((some.astype(np.uint16) + others) // 2).astype(np.uint8)

    out, ours = outside.images, members.images
    parts = {
        "outsiders": out[rng.permutation(len(out))[:SAMPLES]],
        "outsiders jittered": jittered(drawn(out, SAMPLES), 1, "grey", seed),
        "outsiders blurred": blurred(drawn(out, SAMPLES // 2)),
        "means of five outsiders": means(out, SAMPLES // 2),
        "morphs of outsiders": morphs(drawn(out, SAMPLES // 2), drawn(out, SAMPLES // 2)),
        "members": drawn(ours, SAMPLES),
        "members jittered": jittered(drawn(ours, 180), 1, "grey", seed + 1),
        "members blurred": blurred(drawn(ours, 180)),
        "means of five members": means(ours, 180),
        "morphs with members": morphs(drawn(ours, 180), drawn(out, 180)),
        "hold-out people": drawn(held.images, SAMPLES),
    }
    first = dict(zip(parts, np.cumsum([0, *map(len, parts.values())]), strict=False))

    def rows(kind: str, count: int = SAMPLES) -> Rows:
        return first[kind] + rng.permutation(len(parts[kind]))[:count]

    def strangers(count: int) -> Rows:
        some = rows("outsiders", count)
        return np.concatenate([some, rows("outsiders jittered", count - len(some))])

    sets = [Built("clean", strangers(count), 0.0) for count in (SAMPLES, SAMPLES, SAMPLES // 2)]
    sets += [Built("clean", rows(kind), 0.0) for kind in ("outsiders jittered", "outsiders blurred")]
    # Unlike photographs, so that they are no measure of how often photographs are cleared; their truth is 0 all the same.
    sets += [Built(kind, rows(kind), 0.0) for kind in ("means of five outsiders", "morphs of outsiders")]
    sets += [
        Built(
            "copies",
            np.concatenate([rows("members", round(share * SAMPLES)), strangers(SAMPLES - round(share * SAMPLES))]),
            share,
        )
        for share in SHARES
    ]
    for kind in ("members jittered", "members blurred"):
        sets.append(Built(kind, np.concatenate([rows(kind), strangers(SAMPLES - 180)]), None))
    sets += [Built(kind, rows(kind), None) for kind in ("means of five members", "morphs with members", "hold-out people")]
    return np.concatenate(list(parts.values())), sets


def np_full(count: int) -> Any:
    import torch

    return torch.full((count,), 1.0)


def disguises(real: PrivateDataset, outside: PrivateDataset, attacks: dict[str, Attack], seed: int, with_filter: bool) -> Json:
    """Kind -> share of disguised copies that the audit, and the filter, catch."""
    members = real.members()
    rows = np.random.default_rng([seed, 2]).permutation(len(members))[:DISGUISED]
    made = disguised(members.images[rows], outside.images, seed)
    found: Json = {}
    for kind, images in made.items():
        hits = np.any([attack.passing(images) for attack in attacks.values()], axis=0)
        found[kind] = {"audit": float(hits.mean())}
    if with_filter:
        for kind, share in by_filter(real, made, seed).items():
            found[kind]["filter"] = share
    return found


def by_filter(real: PrivateDataset, made: dict[str, Pixels], seed: int) -> dict[str, float]:
    """Share of each kind that the filter drops at its default settings."""
    import tempfile

    from pd.audit.filter_figures import Detectors
    from pd.engine.recognisers import recognisers
    from pd.filters.calibration import find_thresholds
    from pd.filters.prepare import prepare
    from pd.filters.scorer import Scorer
    from pd.progress import Reporter

    settings: Settings = parse_settings({}, [f"seed={seed}"], where="benchmark")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        networks = recognisers(real.members(), settings, folder / "training", Reporter())
        measured = prepare(real, networks, settings, folder / "reid")
        limits = find_thresholds(measured, settings.reid.calibration, settings.filter)
        detect = Detectors(Scorer(folder / "reid", folder / "reid"), limits, settings.filter)
        return {kind: float(detect.dropped(detect.images(images)).mean()) for kind, images in made.items()}


def read(file: Path, seed: int) -> tuple[PrivateDataset, PrivateDataset]:
    """Members and hold-out people, and outsiders; 32 x 32 grey, without doubles."""
    table = pq.read_table(file, columns=["image", "identity"])
    images, names, seen = [], [], set()
    for row, name in zip(table["image"].to_pylist(), table["identity"].to_pylist(), strict=True):
        with Image.open(io.BytesIO(row["bytes"])) as picture:
            small = np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))
        if small.tobytes() not in seen:
            seen.add(small.tobytes())
            images.append(small)
            names.append(name)
    people = np.random.default_rng([seed, 0]).permutation(sorted(set(names)))
    ours = min(round(0.35 * len(people)), 200)
    held = min(round(0.4 * len(people)), 600)
    part = dict.fromkeys(people[:ours], "member") | dict.fromkeys(people[ours : ours + held], "holdout")

    def some(wanted: set[str]) -> PrivateDataset:
        rows = [row for row, name in enumerate(names) if part.get(name, "outside") in wanted]
        return PrivateDataset(
            [str(row) for row in rows],
            np.stack([images[row] for row in rows])[..., None],
            [names[row] for row in rows],
            [part.get(names[row], "member") for row in rows],
            [""] * len(rows),
            {},
        )

    return some({"member", "holdout"}), some({"outside"})


def summary(rounds: list[Json]) -> Json:
    """The figures of some splits."""
    sets = [one for found in rounds for one in found["sets"]]
    known = [one for one in sets if one["truth"] is not None]
    covered = [one["excess"]["low"] <= one["truth"] <= one["excess"]["high"] for one in known]

    def counts(some: list[Json]) -> Json:
        told = Counter(one["outcome"].replace(" ", "_") for one in some)
        return {"n": len(some), **{outcome: told[outcome] for outcome in ("clear", "leak", "cannot_tell")}}

    clean = counts([one for one in sets if one["kind"] == "clean"])
    leaking = {
        f"{share:g}": counts([one for one in sets if one["kind"] == "copies" and one["truth"] == share]) for share in SHARES
    }
    caught: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for found in rounds:
        for kind, by in found["disguises"].items():
            for who, share in by.items():
                caught[kind][who].append(share)
    return {
        "coverage": round(float(np.mean(covered)), 4),
        "width": round(float(np.mean([one["excess"]["high"] - one["excess"]["low"] for one in known])), 4),
        "gate": {
            "clean": clean,
            "leaking": leaking,
            "clean_failed": round(clean["leak"] / max(clean["n"], 1), 4),
            "leaks_passed": sum(leaking[f"{share:g}"]["clear"] for share in SHARES if share >= 0.1),
        },
        "others": {
            kind: counts([one for one in sets if one["kind"] == kind])
            for kind in sorted({one["kind"] for one in sets} - {"clean", "copies"})
        },
        "disguises": {
            kind: {who: round(float(np.mean(shares)), 4) for who, shares in by.items()} for kind, by in caught.items()
        },
    }


def show(figures: Json) -> None:
    table = Table(title=f"audits of {SAMPLES} samples, limit excess = {LIMIT}")
    for heading in (
        "data",
        "coverage",
        "width",
        "clean: clear / leak / cannot tell",
        *(f"{100 * share:g} % copies" for share in SHARES),
    ):
        table.add_column(heading, justify="right")
    for name, found in {"all": figures, **figures["by_data"]}.items():
        cells = [found["gate"]["clean"], *found["gate"]["leaking"].values()]
        told = [f"{one['clear']} / {one['leak']} / {one['cannot_tell']}" for one in cells]
        table.add_row(name, f"{found['coverage']:.3f}", f"{found['width']:.3f}", *told)
    Console(width=150).print(table)
    table = Table(title="disguised copies caught")
    for heading in ("kind", "audit", "filter"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for kind, by in figures["disguises"].items():
        table.add_row(kind, *(f"{by[who]:.2f}" if who in by else "-" for who in ("audit", "filter")))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
