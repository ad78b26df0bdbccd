"""Excess re-identification as the JSON of `audit.json`: the worst attacker that had no vote in the filter is the headline.

A filter looks safe by construction to attackers of the families that voted in it, so these are marked and shown beside. Where
all of them voted, the worst of all is the headline.

Its value is a maximum over the attackers, and so somewhat large; its interval begins where that attacker's own does, and ends
where the highest of all attackers' does, because an attacker of a smaller value may be the less sure of it. Whichever attacker
truly finds most, its own interval ends no higher than that.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from pd.audit.attack import Attack, Attacked
from pd.audit.estimate import from_draws
from pd.audit.power import power
from pd.audit.reidentification import Reidentification

Json = dict[str, Any]
ByAttacker = Mapping[str, Attacked]


def independent(by_attacker: Mapping[str, Any], voted: Collection[str]) -> list[str]:
    """The attackers that are not of a family that voted in the filter; all, where there is no other."""
    return [name for name in by_attacker if name not in voted] or list(by_attacker)


def worst(by_attacker: ByAttacker, voted: Collection[str] = ()) -> str:
    """The attacker with the largest excess, of those that had no vote."""
    return max(independent(by_attacker, voted), key=lambda name: by_attacker[name].found.excess.value)


def figures(by_attacker: ByAttacker, voted: Collection[str] = ()) -> Json:
    """The worst attacker's figures, its excess with the highest end of all, and everybody's."""
    everybody = {name: _figures(attacked.found) for name, attacked in by_attacker.items()}
    return _headline(by_attacker, everybody, voted)


def figures_with_power(
    by_attacker: ByAttacker, attacks: Mapping[str, Attack], *, alpha: float, seed: int, voted: Collection[str] = ()
) -> Json:
    """The same, with what each attacker could have seen; `detectable` and `planted` are left out where that is nothing."""
    everybody: dict[str, Json] = {}
    for name, attacked in by_attacker.items():
        could = power(attacked.compared, attacks[name].member_pictures(), alpha=alpha, seed=seed)
        seen = {} if could.detectable is None else {"detectable": could.detectable, "planted": could.planted}
        everybody[name] = {**_figures(attacked.found), "power": {"blind": could.blind, "words": could.words, **seen}}
    return _headline(by_attacker, everybody, voted)


def less_than(arms: Mapping[str, ByAttacker], voted: Collection[str] = ()) -> Json:
    """How far the filtered arm's excess lies below each other arm's, by that arm's worst attacker.

    The draws are paired: each resample redraws the same people for both arms, whose luck so cancels. Two single intervals
    may overlap where this one is clear of 0. Of two sets of unrelated samples 98 to 100 of 100 such intervals hold 0 (simulated
    with 5 to 20 strangers), so that these are not widened.
    """
    if "filtered" not in arms:
        return {}
    compared: Json = {}
    for name, by_attacker in arms.items():
        if name != "filtered":
            by = worst(by_attacker, voted)
            more, less = by_attacker[by].found, arms["filtered"][by].found
            value = more.excess.value - less.excess.value
            estimate = from_draws(value, more.draws - less.draws, min(more.excess.n, less.excess.n))
            compared[name] = {"attacker": by, **estimate.as_json()}
    return compared


def share_kept(kept: ByAttacker, whole: ByAttacker) -> Json:
    """By attacker: excess of the round trips as a share of the originals'; None where the originals' is not above 0."""
    return {name: _ratio(kept[name].found, whole[name].found) for name in whole}


def _headline(by_attacker: ByAttacker, everybody: Mapping[str, Json], voted: Collection[str]) -> Json:
    name = worst(by_attacker, voted)
    highest = max(everybody[one]["excess"]["high"] for one in independent(by_attacker, voted))
    everybody = {one: found | ({"voted": True} if one in voted else {}) for one, found in everybody.items()}
    headline = everybody[name] | {"excess": everybody[name]["excess"] | {"high": highest}}
    return {"attacker": name, **headline, "by_attacker": dict(everybody)}


def _ratio(kept: Reidentification, whole: Reidentification) -> Json | None:
    if whole.excess.value <= 0:
        return None
    draws = np.divide(kept.draws, whole.draws, out=np.full(len(whole.draws), np.nan), where=whole.draws > 0)
    if not np.isfinite(draws).any():
        return None
    return from_draws(kept.excess.value / whole.excess.value, draws, kept.excess.n).as_json()


def _figures(found: Reidentification) -> Json:
    return {
        "main": found.main.as_json(),
        "control": found.control.as_json(),
        "excess": found.excess.as_json(),
        "like_holdout": found.like_holdout.as_json(),
        "people_hit": found.people_hit,
    }
