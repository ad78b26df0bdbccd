"""What `benchmarks/privacy.py` prints and stores of several runs' audits."""

from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any

from rich.table import Table

from pd.config import ARMS as ALL

Json = dict[str, Any]

ARMS = tuple(arm for arm in ALL if arm not in ("formal", "early"))
"""Those that every stored audit has: `formal` needs a section of its own, `early` is newer."""

RATIO, KAPPA = 0.2, 0.8
"""Asked for: the filtered student's excess as a share of the teacher's, at most; the voting filter's agreement, at least."""

# What is shown of each arm: title, where it lies in the arm's figures, factor. "*" is every attacker, or every label; whatever
# no audit has is left out.
_MEASURES = (
    ("excess re-identification, worst attacker", ("reid", "excess"), 1),
    ("excess re-identification by *", ("reid", "by_attacker", "*", "excess"), 1),
    ("extraction, excess", ("extraction", "excess"), 1),
    ("copies, excess", ("extraction", "copies", "excess"), 1),
    ("attributes, advantage on *", ("attributes", "by_label", "*", "advantage"), 1),
    ("attributes, advantage on a hidden half", ("attributes", "hidden_half", "advantage"), 1),
    ("membership by loss, AUC", ("membership", "loss", "auc"), 1),
    ("membership by loss, TPR at 1 % FPR", ("membership", "loss", "tpr_at_1"), 1),
    ("membership by likelihood ratio, AUC", ("membership", "likelihood_ratio", "auc"), 1),
    ("membership by likelihood ratio, TPR at 1 % FPR", ("membership", "likelihood_ratio", "tpr_at_1"), 1),
    ("members covered", ("coverage", "identities"), 1),
    ("precision", ("coverage", "precision"), 1),
    ("recall", ("coverage", "recall"), 1),
    ("pictures covered", ("coverage", "images"), 1),
    ("utility AUC", ("utility", "auc"), 1),
    ("kernel distance x 1000", ("fidelity", "kid"), 1000),
    ("prompt adherence", ("adherence", "score"), 1),
)


def tables(seeds: Sequence[int], audits: Sequence[Json], agreement: Json) -> Iterator[Table]:
    """A table for each measure, arms down and seeds across; then the paired differences and the filters' agreement."""
    for title, keys, factor in _measures(audits):
        rows = {arm: [_dig(audit, "arms", arm, *keys) for audit in audits] for arm in ARMS}
        if any("value" in cell for cells in rows.values() for cell in cells):
            yield _table(title, seeds, rows, factor)
    less = {arm: [_dig(audit, "less_than", arm) for audit in audits] for arm in ARMS if arm != "filtered"}
    yield _table("excess of other arms less the filtered student's, paired", seeds, less, 1)
    yield _agreement(agreement)


def figures(seeds: Sequence[int], audits: Sequence[Json], agreement: Json) -> Json:
    """Everything the audits found, by arm and seed, and what the benchmark asks of them."""
    excess = {arm: [audit["arms"][arm]["reid"]["excess"] for audit in audits] for arm in ARMS}
    means = {arm: mean(one["value"] for one in found) for arm, found in excess.items()}
    utility = {arm: mean(audit["arms"][arm]["utility"]["auc"]["value"] for audit in audits) for arm in ARMS}
    return {
        "seeds": list(seeds),
        "arms": {arm: [audit["arms"][arm] for audit in audits] for arm in ARMS},
        "real": [audit["real"] for audit in audits],
        "filter": [audit["filter"] for audit in audits],
        "mean_excess": means,
        "mean_utility_auc": utility,
        "utility_gap": utility["teacher"] - utility["filtered"],
        "less_than": [audit["less_than"] for audit in audits],
        "consistency": agreement,
        "targets": _targets(excess, means, [audit["less_than"]["random_drop"] for audit in audits], agreement),
    }


def worked_out_again(stored: Json) -> Json:
    """Stored figures by today's rules: a headline ends where the highest interval of any attacker ends."""
    places = [entry["reid"] for found in stored["arms"].values() for entry in found]
    places += [real[key] for real in stored["real"] for key in ("member", "round_trip") if key in real]
    for reid in places:
        reid["excess"]["high"] = max(found["excess"]["high"] for found in reid["by_attacker"].values())
    audits = [
        {"arms": {arm: found[at] for arm, found in stored["arms"].items()}}
        | {key: stored[key][at] for key in ("real", "filter", "less_than")}
        for at in range(len(stored["seeds"]))
    ]
    return figures(stored["seeds"], audits, stored["consistency"])


def _measures(audits: Sequence[Json]) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """_MEASURES, with a line for each name that a "*" stands for."""
    for title, keys, factor in _MEASURES:
        if "*" not in keys:
            yield title, keys, factor
            continue
        at = keys.index("*")
        for name in sorted({name for audit in audits for arm in ARMS for name in _dig(audit, "arms", arm, *keys[:at])}):
            yield title.replace("*", name), (*keys[:at], name, *keys[at + 1 :]), factor


def _targets(excess: dict[str, list[Json]], means: dict[str, float], less: Sequence[Json], agreement: Json) -> Json:
    """Whether the filter does what is asked of it."""
    pairs = list(zip(excess["filtered"], excess["teacher"], strict=True))
    ratio = means["filtered"] / means["teacher"] if means["teacher"] > 0 else None
    kappa = _dig(agreement, "kappa").get("value")
    return {
        "filtered_over_teacher": {
            "by_seed": [one["value"] / two["value"] if two["value"] > 0 else None for one, two in pairs],
            "of_means": ratio,
            "asked": RATIO,
            "holds": ratio is not None and ratio <= RATIO,
        },
        "apart_from_random_drop": {
            "paired": list(less),
            "paired_holds": [one["low"] > 0 for one in less],
            "mean_of_seeds": mean(one["value"] for one in less),  # no interval: all seeds split the same people
            "intervals_disjoint": [
                one["high"] < two["low"] for one, two in zip(excess["filtered"], excess["random_drop"], strict=True)
            ],
        },
        "kappa": {"value": kappa, "asked": KAPPA, "holds": None if kappa is None else kappa >= KAPPA},
    }


def _table(title: str, seeds: Sequence[int], rows: dict[str, list[Json]], factor: float) -> Table:
    table = Table(title=title)
    for heading in ("arm", *(f"seed {seed}" for seed in seeds), "mean"):
        table.add_column(heading)
    for arm, cells in rows.items():
        values = [cell["value"] for cell in cells if "value" in cell]
        whole = f"{factor * mean(values):.3f}" if len(values) == len(cells) else "-"
        table.add_row(arm, *(_interval(cell, factor) for cell in cells), whole)
    return table


def _agreement(agreement: Json) -> Table:
    table = Table(title="do filters that differ in their seeds decide alike? kappa (95 % interval)")
    for heading in ("filter", "with the near-copy detector", "networks alone"):
        table.add_column(heading)
    names = {"voting": "three networks, majority", "any": "three networks, any", "single": "one network"}
    for key, name in names.items():
        if found := _dig(agreement, key):
            table.add_row(name, *(_interval(_dig(part, "kappa"), 1) for part in (found, _dig(found, "networks"))))
    return table


def _interval(estimate: Json, factor: float) -> str:
    if "value" not in estimate:
        return "-"
    value, low, high = (factor * estimate[key] for key in ("value", "low", "high"))
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _dig(tree: Any, *keys: str) -> Json:
    """A mapping deep in others; empty where there is none."""
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else {}
